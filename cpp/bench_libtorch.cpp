// LibTorch: PyTorch's C++ library, which is part of the torch package. Reads NAME.torchscript (convert.to_torchscript).
//
// Why not AOTInductor: its package contains machine code for one processor, needs a compiler, and its manual calls it a
// prototype. TorchScript is deprecated, but it is the only format that Python and C++ load on any machine. The kernels
// are those of the Python package, because it is the same library.
#include <ATen/Parallel.h>
#include <torch/script.h>
#include <torch/version.h>

#include <memory>
#include <sstream>

#include "bench.hpp"

static bench::Model open_model(const std::string& path, int threads) {
    at::set_num_threads(threads);
    torch::jit::ExtraFilesMap extra{{"input_shape", ""}};
    auto module = std::make_shared<torch::jit::Module>();
    try {
        *module = torch::jit::load(path, torch::kCPU, extra);
    } catch (const c10::Error&) {  // its message is a long C++ stack trace
        throw std::runtime_error("LibTorch cannot load the file: is it damaged, or another kind of file?");
    }
    module->eval();
    std::vector<int64_t> shape;
    std::istringstream sizes(extra["input_shape"]);
    for (int64_t n; sizes >> n;) shape.push_back(n);
    auto run = [module, shape](const float* image, std::vector<float>& logits) {
        const c10::InferenceMode no_gradients;
        const torch::Tensor input = torch::from_blob(const_cast<float*>(image), shape, torch::kFloat32);
        const torch::Tensor output = module->forward({input}).toTensor().contiguous();
        logits.assign(output.const_data_ptr<float>(), output.const_data_ptr<float>() + output.numel());
    };
    return {"LibTorch", TORCH_VERSION, shape, run};
}

int main(int argc, char** argv) { return bench::serve(argc, argv, open_model); }
