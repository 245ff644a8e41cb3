// The kernels on the CPU: thread after thread, block after block.
#pragma once

#include <cstdint>

#include "cuda/block.hpp"

namespace ternzip::cuda::emulation {

// Few enough that blocks go through several tiles of several tasks, as they do on a device.
inline constexpr std::uint32_t kMaxBlocks = 3;

template <class Body>
void each_block(std::uint32_t blocks, bool reversed, const Body& body) {
  for (std::uint32_t block = 0; block < blocks; ++block) {
    body(HostBlock{reversed ? blocks - 1 - block : block, blocks, reversed});
  }
}

}  // namespace ternzip::cuda::emulation
