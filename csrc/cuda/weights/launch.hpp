// Starts a kernel over weights on a device, or emulates it.
#pragma once

#include <cstdint>

#include "cuda/target.hpp"
#include "cuda/weights/batch.hpp"

namespace ternzip::cuda {

// Nothing waits for the device. A std::runtime_error names what CUDA refused.
void launch(WeightKernel kernel, const WeightBatch& batch, const Target& target);

namespace device {  // launch.cu
void launch(WeightKernel kernel, const WeightBatch& batch, const Target& target);
}
namespace emulation {  // emulation.cpp
void launch(WeightKernel kernel, const WeightBatch& batch, std::uint32_t seed);
}

}  // namespace ternzip::cuda
