// Starts the `fast` decoder on a device, or emulates it.
#pragma once

#include <cstdint>

#include "cuda/fast/batch.hpp"
#include "cuda/target.hpp"

namespace ternzip::cuda {

// Nothing waits for the device. A std::runtime_error names what CUDA refused.
void launch(const FastBatch& batch, const Target& target);

namespace device {  // launch.cu
void launch(const FastBatch& batch, const Target& target);
}
namespace emulation {  // emulation.cpp
void launch(const FastBatch& batch, std::uint32_t seed);
}

}  // namespace ternzip::cuda
