// MNN. No package contains its headers, so it is built only if MNN_ROOT is the path of a build. Reads NAME.mnn.
#include <MNN/Interpreter.hpp>
#include <MNN/Tensor.hpp>

#include <cstring>
#include <memory>

#include "bench.hpp"

static bench::Model open_model(const std::string& path, int threads) {
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
    const std::vector<int> sizes = entry->shape();
    auto sent = std::make_shared<MNN::Tensor>(entry, MNN::Tensor::CAFFE);  // NCHW; MNN may use another order internally
    auto received = std::make_shared<MNN::Tensor>(result, MNN::Tensor::CAFFE);
    auto run = [=](const float* image, std::vector<float>& logits) {
        std::memcpy(sent->host<float>(), image, size_t(sent->size()));
        entry->copyFromHostTensor(sent.get());
        if (interpreter->runSession(session) != MNN::NO_ERROR) throw std::runtime_error("MNN cannot run the model");
        result->copyToHostTensor(received.get());
        logits.assign(received->host<float>(), received->host<float>() + received->elementSize());
    };
    return {"MNN", MNN::getVersion(), {sizes.begin(), sizes.end()}, run};
}

int main(int argc, char** argv) { return bench::serve(argc, argv, open_model); }
