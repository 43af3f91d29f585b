// Declares the part of MNN's C++ interface that bench_mnn.cpp uses, for the library in MNN's Python package.
//
// The package contains the library without its headers. Each name here must be exactly MNN's, because the linker compares
// names and types of arguments. Only two of MNN's objects are created on our side: BackendConfig and ScheduleConfig, whose
// fields must have MNN's order. All other objects are created by MNN, and we hold pointers to them. Order and values are
// those of one version, MNN_VERSION, which the program checks; tests/test_cpp.py compares 1,000 answers with Python's.
// With MNN_ROOT, CMake uses MNN's own headers instead.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

enum MNNForwardType { MNN_FORWARD_CPU = 0 };

// The type of a number, which MNN passes by value. 2 is a float.
enum halide_type_code_t : int32_t { halide_type_float = 2 };
struct halide_type_t {
    halide_type_code_t code;
    uint8_t bits;
    uint16_t lanes;
};
template <typename T>
halide_type_t halide_type_of();
template <>
inline halide_type_t halide_type_of<float>() {
    return {halide_type_float, 32, 1};
}

namespace MNN {

class Session;

enum ErrorCode { NO_ERROR = 0 };

struct BackendConfig {
    enum MemoryMode { Memory_Normal = 0 };
    enum PowerMode { Power_Normal = 0 };
    enum PrecisionMode { Precision_Normal = 0, Precision_High = 1, Precision_Low = 2 };
    MemoryMode memory = Memory_Normal;
    PowerMode power = Power_Normal;
    PrecisionMode precision = Precision_Normal;
    void* context = nullptr;
};

struct ScheduleConfig {
    struct Part {
        std::vector<std::string> first, last;
        int mode = 0;
    };
    std::vector<std::string> kept;
    MNNForwardType type = MNN_FORWARD_CPU;
    int numThread = 4;
    Part part;
    MNNForwardType backupType = MNN_FORWARD_CPU;
    BackendConfig* backendConfig = nullptr;
};

class Tensor {
public:
    enum DimensionType { TENSORFLOW, CAFFE };
    static Tensor* create(const std::vector<int>& shape, halide_type_t type, void* data, DimensionType order);
    static void destroy(Tensor* tensor);
    bool copyFromHostTensor(const Tensor* host);
    bool copyToHostTensor(Tensor* host) const;
    std::vector<int> shape() const;
    Tensor() = delete;
};

class Interpreter {
public:
    static Interpreter* createFromFile(const char* path);
    static void destroy(Interpreter* interpreter);
    Session* createSession(const ScheduleConfig& config);
    Tensor* getSessionInput(const Session* session, const char* name);
    Tensor* getSessionOutput(const Session* session, const char* name);
    ErrorCode runSession(Session* session) const;
    Interpreter() = delete;
};

const char* getVersion();

}  // namespace MNN
