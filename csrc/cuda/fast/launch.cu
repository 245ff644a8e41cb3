// The `fast` decoder, compiled for devices.
#include "cuda/fast/kernels.hpp"
#include "cuda/fast/launch.hpp"
#include "cuda/runtime_guard.cuh"

namespace ternzip::cuda::device {
namespace {

__global__ void __launch_bounds__(kThreads) fill_slots_kernel(TERNZIP_PARAMETER const FastBatch batch) {
  fill_slots(batch, DeviceBlock{});
}

__global__ void __launch_bounds__(kThreads) decode_kernel(TERNZIP_PARAMETER const FastBatch batch) {
  __shared__ FastShared shared;
  decode_block(batch, DeviceBlock{}, shared);
}

}  // namespace

const void* const kFastProbe = reinterpret_cast<const void*>(&decode_kernel);

void launch(const FastBatch& batch, const Target& target) {
  const DeviceGuard guard(target.device);
  const auto stream = static_cast<cudaStream_t>(target.stream);
  fill_slots_kernel<<<batch.table_count, kThreads, 0, stream>>>(batch);
  check(cudaGetLastError(), "launching the tables of the fast decoder");
  decode_kernel<<<batch.block_count, kThreads, 0, stream>>>(batch);
  check(cudaGetLastError(), "launching the fast decoder");
}

}  // namespace ternzip::cuda::device
