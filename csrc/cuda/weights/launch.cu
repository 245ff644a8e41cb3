// The kernels over weights, compiled for devices.
#include <algorithm>

#include "cuda/runtime_guard.cuh"
#include "cuda/weights/kernels.hpp"
#include "cuda/weights/launch.hpp"

namespace ternzip::cuda::device {
namespace {

// A processor's share: half the threads it can hold or more, with 32 or 64 bytes under way each.
constexpr unsigned kBlocks = 4;

__global__ void __launch_bounds__(kThreads, kBlocks)
    forward_kernel(TERNZIP_PARAMETER const WeightBatch batch) {
  __shared__ ForwardShared shared;
  forward(batch, DeviceBlock{}, shared);
}

__global__ void __launch_bounds__(kThreads, kBlocks)
    backward_kernel(TERNZIP_PARAMETER const WeightBatch batch) {
  backward(batch, DeviceBlock{});
}

__global__ void __launch_bounds__(kThreads) level_sums_kernel(TERNZIP_PARAMETER const WeightBatch batch) {
  __shared__ LevelShared shared;
  level_sums(batch, DeviceBlock{}, shared);
}

__global__ void level_totals_kernel(TERNZIP_PARAMETER const WeightBatch batch) {
  level_totals(batch, DeviceBlock{});
}

}  // namespace

const void* const kWeightProbe = reinterpret_cast<const void*>(&forward_kernel);

void launch(WeightKernel kernel, const WeightBatch& batch, const Target& target) {
  const DeviceGuard guard(target.device);
  const auto stream = static_cast<cudaStream_t>(target.stream);
  const auto blocks = [&](auto* function) {
    return std::min(batch.tiles,
                    blocks_at_once(reinterpret_cast<const void*>(function), kThreads, target.device));
  };
  switch (kernel) {
    case WeightKernel::kForward:
      forward_kernel<<<blocks(&forward_kernel), kThreads, 0, stream>>>(batch);
      break;
    case WeightKernel::kBackward:
      backward_kernel<<<blocks(&backward_kernel), kThreads, 0, stream>>>(batch);
      break;
    case WeightKernel::kLevelSums:
      level_sums_kernel<<<(batch.tiles + kLevelTiles - 1) / kLevelTiles, kThreads, 0, stream>>>(batch);
      break;
    case WeightKernel::kLevelTotals: level_totals_kernel<<<batch.tasks, kLanes, 0, stream>>>(batch); break;
  }
  check(cudaGetLastError(), "launching a kernel over weights");
}

}  // namespace ternzip::cuda::device
