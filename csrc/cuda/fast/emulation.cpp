#include "cuda/emulation.hpp"

#include "cuda/fast/kernels.hpp"
#include "cuda/fast/launch.hpp"

namespace ternzip::cuda::emulation {

void launch(const FastBatch& batch, std::uint32_t seed) {
  each_block(batch.table_count, seed, [&](const HostBlock& block) { fill_slots(batch, block); });
  each_block_sharing<FastShared>(batch.block_count, seed, [&](const HostBlock& block, FastShared& shared) {
    decode_block(batch, block, shared);
  });
}

}  // namespace ternzip::cuda::emulation
