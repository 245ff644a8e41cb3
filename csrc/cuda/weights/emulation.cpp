#include "cuda/emulation.hpp"

#include <algorithm>
#include <memory>

#include "cuda/weights/kernels.hpp"
#include "cuda/weights/launch.hpp"

namespace ternzip::cuda::emulation {

void launch(WeightKernel kernel, const WeightBatch& batch, bool reversed) {
  const std::uint32_t blocks = std::min(batch.tiles, kMaxBlocks);
  switch (kernel) {
    case WeightKernel::kForward: {
      ForwardShared shared{};
      each_block(blocks, reversed, [&](const HostBlock& block) { forward(batch, block, shared); });
      break;
    }
    case WeightKernel::kBackward:
      each_block(blocks, reversed, [&](const HostBlock& block) { backward(batch, block); });
      break;
    case WeightKernel::kLevelSums: {
      const auto shared = std::make_unique<LevelShared>();
      each_block((batch.tiles + kLevelTiles - 1) / kLevelTiles, reversed,
                 [&](const HostBlock& block) { level_sums(batch, block, *shared); });
      break;
    }
    case WeightKernel::kLevelTotals:
      each_block(batch.tasks, reversed, [&](const HostBlock& block) { level_totals(batch, block); });
      break;
  }
}

}  // namespace ternzip::cuda::emulation
