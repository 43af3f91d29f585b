// Serves a model in C++ with the protocol of helpers/workers.py: it opens the model, then reads requests and writes
// answers as lines of JSON. Calls are timed as in helpers/timing.py, with the same names: wall and CPU time of each
// call, without the first calls of a round.
#pragma once

#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cctype>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <functional>
#include <iostream>
#include <limits>
#include <stdexcept>
#include <string>
#include <vector>

namespace bench {

struct Model {
    std::string runtime, version;
    std::vector<int64_t> input_shape;  // 1 x channels x height x width
    // `image` is one float32 image of `input_shape`, contiguous; `run` resizes and fills `logits`
    std::function<void(const float* image, std::vector<float>& logits)> run;

    int64_t input_size() const {
        int64_t size = 1;
        for (int64_t n : input_shape) size *= n;
        return size;
    }
};

using Opener = Model (*)(const std::string& path, int threads);

// ---- the clocks ----------------------------------------------------------------------------------------------------

inline int64_t read_ns(clockid_t clock) {
    timespec now;
    clock_gettime(clock, &now);
    return int64_t(now.tv_sec) * 1000000000 + now.tv_nsec;
}
inline int64_t wall_ns() { return read_ns(CLOCK_MONOTONIC); }
inline int64_t cpu_ns() { return read_ns(CLOCK_THREAD_CPUTIME_ID); }

struct Round {
    std::vector<int64_t> wall, cpu, whole;  // nanoseconds of each call, and of the round (wall, CPU)
};

template <class Function>
Round time_calls(const Function& function, int64_t calls, int64_t discard) {
    Round round{std::vector<int64_t>(calls), std::vector<int64_t>(calls), {0, 0}};
    const int64_t round_cpu = cpu_ns(), round_start = wall_ns();
    for (int64_t i = 0; i < discard; i++) function();
    for (int64_t i = 0; i < calls; i++) {
        const int64_t cpu_start = cpu_ns();  // a system call, so do it outside the wall time
        const int64_t start = wall_ns();
        function();
        round.wall[i] = wall_ns() - start;
        round.cpu[i] = cpu_ns() - cpu_start;
    }
    round.whole = {wall_ns() - round_start, cpu_ns() - round_cpu};
    return round;
}

inline double median(std::vector<int64_t> values) {
    std::sort(values.begin(), values.end());
    const size_t n = values.size();
    return n % 2 ? double(values[n / 2]) : (double(values[n / 2 - 1]) + double(values[n / 2])) / 2;
}

struct WarmUp {
    int64_t calls, first_call_ns;
    bool steady;
};

// Calls `function` until three consecutive windows of calls do not improve the median; for 0.2 to 10 seconds.
template <class Function>
WarmUp warm_up(const Function& function) {
    const double tolerance = 0.02, min_duration_ns = 0.2e9, max_duration_ns = 10e9;
    const int64_t start = wall_ns(), first = time_calls(function, 1, 0).wall[0];
    const int64_t window = std::clamp<int64_t>(int64_t(1e8 / double(std::max<int64_t>(first, 1))), 1, 10);
    double reference = std::numeric_limits<double>::infinity();
    int64_t calls = 1;
    for (int flat = 0;;) {
        const double middle = median(time_calls(function, window, 0).wall);
        calls += window;
        if (middle > reference * (1 - tolerance)) {
            flat++;  // the reference stays, so a slow decline is still an improvement
        } else {
            flat = 0;
            reference = middle;
        }
        const double elapsed_ns = double(wall_ns() - start);
        if ((flat >= 3 && elapsed_ns >= min_duration_ns) || elapsed_ns >= max_duration_ns) return {calls, first, flat >= 3};
    }
}

// ---- requests and answers ------------------------------------------------------------------------------------------

struct Request {
    std::string command;
    std::vector<std::string> texts;  // its arguments, by type
    std::vector<int64_t> numbers;
};

// Parses a request, a JSON list of strings and whole numbers; the first is the command.
inline Request parse(const std::string& line) {
    const std::invalid_argument wrong("a request must be one line such as [\"time_calls\", 100, 1], not: " + line);
    size_t at = 0;
    auto peek = [&] {
        while (at < line.size() && std::isspace(static_cast<unsigned char>(line[at]))) at++;
        return at < line.size() ? line[at] : '\0';
    };
    auto expect = [&](char c) {
        if (peek() != c) throw wrong;
        at++;
    };
    auto text = [&] {
        std::string read;
        expect('"');
        while (at < line.size() && line[at] != '"') {
            if (line[at] == '\\' && (++at >= line.size() || std::string("\"\\/").find(line[at]) == std::string::npos)) throw wrong;
            read += line[at++];
        }
        expect('"');
        return read;
    };
    Request request;
    expect('[');
    request.command = text();
    while (peek() == ',') {
        at++;
        if (peek() == '"') {
            request.texts.push_back(text());
        } else {
            const size_t start = at;
            while (at < line.size() && std::isdigit(static_cast<unsigned char>(line[at]))) at++;
            if (at == start || at - start > 9) throw wrong;
            request.numbers.push_back(std::stoll(line.substr(start, at - start)));
        }
    }
    expect(']');
    if (peek() != '\0') throw wrong;
    return request;
}

inline std::string json(const std::string& text) {
    std::string written = "\"";
    for (char c : text) {
        if (c == '"' || c == '\\') written += '\\';
        written += static_cast<unsigned char>(c) < ' ' ? ' ' : c;
    }
    return written + '"';
}

inline std::string json(const std::vector<int64_t>& numbers) {
    std::string written;
    for (int64_t n : numbers) written += (written.empty() ? "" : ", ") + std::to_string(n);
    return "[" + written + "]";
}

inline std::string error(const std::string& what) { return "{\"error\": " + json(what.substr(0, what.find('\n'))) + "}"; }

// Reads consecutive images from a file of float32 numbers.
inline std::vector<float> read_images(const std::string& path, const Model& model) {
    std::ifstream file(path, std::ios::binary | std::ios::ate);
    const std::streamoff bytes = file ? std::streamoff(file.tellg()) : 0;
    const std::streamoff image = model.input_size() * std::streamoff(sizeof(float));
    if (bytes <= 0 || bytes % image) {
        throw std::invalid_argument(path + " does not contain float32 images of " + json(model.input_shape));
    }
    std::vector<float> images(bytes / sizeof(float));
    file.seekg(0);
    if (!file.read(reinterpret_cast<char*>(images.data()), bytes)) throw std::runtime_error("cannot read " + path);
    return images;
}

inline void predict(const Model& model, const std::string& from, const std::string& to) {
    const std::vector<float> images = read_images(from, model);
    std::ofstream file(to, std::ios::binary);
    std::vector<float> logits;
    for (size_t i = 0; i < images.size(); i += model.input_size()) {
        model.run(images.data() + i, logits);
        file.write(reinterpret_cast<const char*>(logits.data()), std::streamsize(logits.size() * sizeof(float)));
    }
    if (!file.flush()) throw std::runtime_error("cannot write " + to + ": is the disk full?");
}

// The peak memory of this process in bytes; null if the system has no /proc.
inline std::string peak_rss() {
    std::ifstream status("/proc/self/status");
    for (std::string line; std::getline(status, line);) {
        if (line.rfind("VmHWM:", 0) == 0) return std::to_string(std::stoll(line.substr(6)) * 1024);
    }
    return "null";
}

inline std::string answer(const Model& model, std::vector<float>& image, const Request& request) {
    const auto& [command, texts, numbers] = request;
    auto has = [&](size_t given_texts, size_t given_numbers) {
        return texts.size() == given_texts && numbers.size() == given_numbers;
    };
    std::vector<float> logits;
    auto call = [&] { model.run(image.data(), logits); };
    if (command == "image" && has(1, 0)) {
        std::vector<float> read = read_images(texts[0], model);
        if (int64_t(read.size()) != model.input_size()) throw std::invalid_argument("pass one image, not several");
        image = read;
        return "null";
    }
    if (command == "predict" && has(2, 0)) {
        predict(model, texts[0], texts[1]);
        return "null";
    }
    if (command == "warm_up" && has(0, 0)) {
        const WarmUp warm = warm_up(call);
        return "{\"calls\": " + std::to_string(warm.calls) + ", \"first_call_ns\": " + std::to_string(warm.first_call_ns) +
               ", \"steady\": " + (warm.steady ? "true" : "false") + "}";
    }
    if (command == "time_calls" && has(0, 2)) {
        const Round round = time_calls(call, numbers[0], numbers[1]);
        return "[" + json(round.wall) + ", " + json(round.cpu) + ", " + json(round.whole) + "]";
    }
    if (command == "peak_rss" && has(0, 0)) return peak_rss();
    throw std::invalid_argument("unknown request " + command + ", or wrong arguments");
}

// The main function of a program: opens the model in its first argument, then answers requests until the input ends.
inline int serve(int argc, char** argv, Opener open) {
    if (argc != 3 || std::atoi(argv[2]) < 1) {
        std::fprintf(stderr, "usage: %s MODEL THREADS, started by helpers.workers.Worker\n", argv[0]);
        return 2;
    }
    // answers go to standard output; output of the runtime goes to standard error
    FILE* answers = fdopen(dup(1), "w");
    dup2(2, 1);
    auto send = [&](const std::string& line) {
        std::fprintf(answers, "%s\n", line.c_str());
        std::fflush(answers);
    };
    const int64_t start = wall_ns();
    const std::filesystem::path path(argv[1]);
    const std::string name = path.filename().string();
    Model model;
    try {
        if (!std::filesystem::exists(path)) throw std::runtime_error(name + " does not exist");
        model = open(path.string(), std::atoi(argv[2]));
        if (model.input_shape.empty() || model.input_size() <= 0) {
            throw std::runtime_error(name + " does not contain its input shape, so it cannot be timed");
        }
    } catch (const std::exception& problem) {
        send(error(problem.what()));
        return 0;
    }
    const std::string stem = name.substr(0, name.find('.'));
    const bool is_int8 = stem.size() >= 5 && stem.substr(stem.size() - 5) == "_int8";
    send("{\"runtime\": " + json(model.runtime) + ", \"version\": " + json(model.version) + ", \"precision\": " +
         json(std::string(is_int8 ? "int8" : "float32")) + ", \"input_shape\": " + json(model.input_shape) +
         ", \"load_ns\": " + std::to_string(wall_ns() - start) + "}");
    std::vector<float> image(model.input_size());
    for (std::string line; std::getline(std::cin, line);) {
        try {
            send(answer(model, image, parse(line)));
        } catch (const std::exception& problem) {
            send(error(problem.what()));
        }
    }
    return 0;
}

}  // namespace bench
