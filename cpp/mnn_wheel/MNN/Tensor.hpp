// MNN declares Tensor in a file of this name; here Interpreter.hpp has all declarations.
#pragma once

#include <MNN/Interpreter.hpp>
