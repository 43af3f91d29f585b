// LibTorch: PyTorch's C++ library, which the torch package brings along. Reads NAME.torchscript (convert.to_torchscript).
//
// TorchScript and not AOTInductor, whose package holds machine code for the very processor that compiled it, needs a
// compiler to be made, and is called a prototype by its manual. TorchScript is deprecated and still the one file that
// both Python and C++ load anywhere. The kernels are those of the Python package: the library is the same file.
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
    } catch (const c10::Error&) {  // its own text is a page of C++ call frames
        throw std::runtime_error("LibTorch cannot load it: is it damaged, or another kind of file?");
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
