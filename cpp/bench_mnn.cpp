// MNN. Reads NAME.mnn. Linked against the library in MNN's Python package, or against a build of MNN (MNN_ROOT).
#include <MNN/Interpreter.hpp>
#include <MNN/Tensor.hpp>

#include <cstring>
#include <memory>

#include "bench.hpp"

using Tensor = std::shared_ptr<MNN::Tensor>;

// A tensor that copies to and from `values`: NCHW, where MNN may use another order internally.
static Tensor host_tensor(const std::vector<int>& shape, std::vector<float>& values) {
    size_t count = 1;
    for (int size : shape) count *= size_t(size);
    values.resize(count);
    auto* made = MNN::Tensor::create(shape, halide_type_of<float>(), values.data(), MNN::Tensor::CAFFE);
    return Tensor(made, MNN::Tensor::destroy);
}

static bench::Model open_model(const std::string& path, int threads) {
#ifdef MNN_VERSION  // without MNN's own headers, only this version is known
    if (std::strcmp(MNN::getVersion(), MNN_VERSION)) {
        std::string problem = "the program was built for MNN " MNN_VERSION ", and MNN ";
        problem.append(MNN::getVersion()).append(" is installed: run `make cpp` again");
        throw std::runtime_error(problem);
    }
#endif
    std::shared_ptr<MNN::Interpreter> interpreter(MNN::Interpreter::createFromFile(path.c_str()), MNN::Interpreter::destroy);
    if (!interpreter) throw std::runtime_error("MNN cannot load the file: is it damaged, or another kind of file?");
    MNN::BackendConfig backend;
    backend.precision = MNN::BackendConfig::Precision_High;  // float32, as in modelfiles/runtimes
    MNN::ScheduleConfig schedule;
    schedule.type = MNN_FORWARD_CPU;
    schedule.numThread = threads;
    schedule.backendConfig = &backend;
    MNN::Session* session = interpreter->createSession(schedule);
    if (!session) throw std::runtime_error("MNN cannot prepare the model for this processor");
    MNN::Tensor* entry = interpreter->getSessionInput(session, nullptr);
    MNN::Tensor* result = interpreter->getSessionOutput(session, nullptr);
    if (!entry || !result) throw std::runtime_error("MNN cannot load the file: is it damaged, or another kind of file?");
    const std::vector<int> sizes = entry->shape();
    auto sent = std::make_shared<std::vector<float>>();
    auto received = std::make_shared<std::vector<float>>();
    const Tensor from = host_tensor(sizes, *sent);
    const Tensor to = host_tensor(result->shape(), *received);
    auto run = [=](const float* image, std::vector<float>& logits) {
        std::memcpy(sent->data(), image, sent->size() * sizeof(float));
        entry->copyFromHostTensor(from.get());
        if (interpreter->runSession(session) != MNN::NO_ERROR) throw std::runtime_error("MNN cannot run the model");
        result->copyToHostTensor(to.get());
        logits = *received;
    };
    return {"MNN", MNN::getVersion(), {sizes.begin(), sizes.end()}, run};
}

int main(int argc, char** argv) { return bench::serve(argc, argv, open_model); }
