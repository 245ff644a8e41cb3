// Starts a kernel over weights on a device, or emulates it.
#pragma once

#include "cuda/target.hpp"
#include "cuda/weights/batch.hpp"

namespace ternzip::cuda {

// Nothing waits for the device. A std::runtime_error names what CUDA refused.
void launch(WeightKernel kernel, const WeightBatch& batch, const Target& target);

namespace device {  // launch.cu
void launch(WeightKernel kernel, const WeightBatch& batch, const Target& target);
}
namespace emulation {  // emulation.cpp
void launch(WeightKernel kernel, const WeightBatch& batch, bool reversed);
}

}  // namespace ternzip::cuda
