// The kernels on the CPU: thread after thread, block after block.
#pragma once

#include <cstdint>
#include <cstring>
#include <memory>
#include <type_traits>

#include "cuda/block.hpp"

namespace ternzip::cuda::emulation {

// Few enough that blocks go through several tiles of several tasks, as they do on a device.
inline constexpr std::uint32_t kMaxBlocks = 3;

// Runs body(block) for blocks numbered from 0, in the order that WarpOrder gives to warps.
template <class Body>
void each_block(std::uint32_t blocks, std::uint32_t seed, const Body& body) {
  WarpOrder order(seed);
  const std::uint32_t first = seed > 2 && blocks != 0 ? order.below(blocks) : 0;
  for (std::uint32_t i = 0; i < blocks; ++i) {
    const std::uint32_t block = (i + first) % blocks;
    body(HostBlock{seed == 2 ? blocks - 1 - block : block, blocks, &order});
  }
}

// The same with shared memory, which on a device holds whatever another kernel has left there: so it does
// here, instead of what the block before wrote.
template <class Shared, class Body>
void each_block_sharing(std::uint32_t blocks, std::uint32_t seed, const Body& body) {
  static_assert(std::is_trivially_copyable_v<Shared>);
  const auto shared = std::make_unique<Shared>();
  each_block(blocks, seed, [&](const HostBlock& block) {
    std::memset(static_cast<void*>(shared.get()), 0xA5, sizeof(Shared));
    body(block, *shared);
  });
}

}  // namespace ternzip::cuda::emulation
