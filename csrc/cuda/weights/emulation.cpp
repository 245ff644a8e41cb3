#include "cuda/emulation.hpp"

#include <algorithm>

#include "cuda/weights/kernels.hpp"
#include "cuda/weights/launch.hpp"

namespace ternzip::cuda::emulation {

void launch(WeightKernel kernel, const WeightBatch& batch, std::uint32_t seed) {
  const std::uint32_t blocks = std::min(batch.tiles, kMaxBlocks);
  switch (kernel) {
    case WeightKernel::kForward:
      each_block_sharing<ForwardShared>(blocks, seed, [&](const HostBlock& block, ForwardShared& shared) {
        forward(batch, block, shared);
      });
      break;
    case WeightKernel::kBackward:
      each_block(blocks, seed, [&](const HostBlock& block) { backward(batch, block); });
      break;
    case WeightKernel::kLevelSums:
      each_block_sharing<LevelShared>(
          (batch.tiles + kLevelTiles - 1) / kLevelTiles, seed,
          [&](const HostBlock& block, LevelShared& shared) { level_sums(batch, block, shared); });
      break;
    case WeightKernel::kLevelTotals:
      each_block(batch.tasks, seed, [&](const HostBlock& block) { level_totals(batch, block); });
      break;
  }
}

}  // namespace ternzip::cuda::emulation
