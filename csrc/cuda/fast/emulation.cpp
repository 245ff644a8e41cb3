#include "cuda/emulation.hpp"

#include <algorithm>
#include <memory>

#include "cuda/fast/kernels.hpp"
#include "cuda/fast/launch.hpp"

namespace ternzip::cuda::emulation {

void launch(const FastBatch& batch, bool reversed) {
  const auto shared = std::make_unique<FastShared>();
  each_block(batch.table_count, reversed, [&](const HostBlock& block) { fill_slots(batch, block); });
  each_block(batch.block_count, reversed,
             [&](const HostBlock& block) { decode_block(batch, block, *shared); });
}

}  // namespace ternzip::cuda::emulation
