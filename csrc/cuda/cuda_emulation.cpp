// The kernels on the CPU, thread after thread, block after block.
#include <algorithm>
#include <memory>

#include "cuda/cuda_fast_kernels.hpp"
#include "cuda/cuda_target.hpp"
#include "cuda/cuda_weight_kernels.hpp"

namespace ternzip::cuda::emulation {
namespace {

// Few enough that blocks go through several tiles of several tasks, as they do on a device.
constexpr std::uint32_t kMaxBlocks = 3;

template <class Body>
void each_block(std::uint32_t blocks, bool reversed, const Body& body) {
  for (std::uint32_t block = 0; block < blocks; ++block) {
    body(HostBlock{reversed ? blocks - 1 - block : block, blocks, reversed});
  }
}

}  // namespace

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

void launch(const FastBatch& batch, bool reversed) {
  const auto shared = std::make_unique<FastShared>();
  each_block(batch.table_count, reversed, [&](const HostBlock& block) { fill_slots(batch, block); });
  each_block(batch.block_count, reversed,
             [&](const HostBlock& block) { decode_block(batch, block, *shared); });
}

}  // namespace ternzip::cuda::emulation
