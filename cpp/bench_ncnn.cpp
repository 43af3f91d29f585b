// ncnn, compiled from the source of its Python package. Reads NAME.ncnn.param with NAME.ncnn.bin.
#include <net.h>

#include <memory>
#include <sstream>

#include "bench.hpp"

// convert.to_ncnn writes the input's size into the file: Input in0 0 1 in0 0=width 1=height 2=channels
static std::vector<int64_t> input_shape(const std::string& path) {
    std::ifstream file(path);
    for (std::string line; std::getline(file, line);) {
        if (line.rfind("Input ", 0)) continue;
        int64_t sizes[3] = {0, 0, 0};
        std::istringstream fields(line);
        for (std::string field; fields >> field;) {
            const bool is_size = field.size() > 2 && field[1] == '=' && field[0] >= '0' && field[0] <= '2';
            if (is_size) sizes[field[0] - '0'] = std::atoi(field.c_str() + 2);
        }
        if (sizes[0] && sizes[1] && sizes[2]) return {1, sizes[2], sizes[1], sizes[0]};
    }
    return {};
}

static bench::Model open_model(const std::string& path, int threads) {
    auto net = std::make_shared<ncnn::Net>();
    net->opt.num_threads = threads;
    // float32, as in modelfiles/runtimes
    net->opt.use_fp16_packed = net->opt.use_fp16_storage = net->opt.use_fp16_arithmetic = false;
    net->opt.use_bf16_storage = false;
    const std::string weights = path.substr(0, path.rfind('.')) + ".bin";
    if (net->load_param(path.c_str()) || net->load_model(weights.c_str())) {
        throw std::runtime_error("ncnn cannot load the file: is it damaged, are its weights (" + weights.substr(weights.rfind('/') + 1) +
                                 ") next to it, and are its layers among those of cpp/CMakeLists.txt?");
    }
    const std::vector<int64_t> shape = input_shape(path);
    if (shape.empty()) return {"ncnn", NCNN_VERSION_STRING, {}, nullptr};
    const int channels = int(shape[1]), height = int(shape[2]), width = int(shape[3]);
    auto run = [=](const float* image, std::vector<float>& logits) {
        ncnn::Mat input(width, height, channels, const_cast<float*>(image));
        input.cstep = size_t(width) * height;  // the image's channels are contiguous; ncnn aligns its own
        ncnn::Extractor extractor = net->create_extractor();
        ncnn::Mat output;
        if (extractor.input(net->input_indexes()[0], input) || extractor.extract(net->output_indexes()[0], output)) {
            throw std::runtime_error("ncnn cannot run the model");
        }
        logits.clear();
        const int size = output.w * output.h * output.d;
        for (int channel = 0; channel < output.c; channel++) {
            const float* values = output.channel(channel);
            logits.insert(logits.end(), values, values + size);
        }
    };
    return {"ncnn", NCNN_VERSION_STRING, shape, run};
}

int main(int argc, char** argv) { return bench::serve(argc, argv, open_model); }
