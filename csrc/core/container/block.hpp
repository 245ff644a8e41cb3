// Blocks of byte planes: how tensors that are not ternary are stored, and levels (docs/FORMAT.md, section 5).
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace ternzip::container {

// Consecutive bytes of a block that are elements of one type, at least one.
struct Run {
  std::size_t bytes;
  unsigned width;  // bytes that get a plane each
};

// Fills `out`, the bytes that the runs share out in order. Throws FileError and std::bad_alloc; memory beside
// `out` is a few times the largest run.
void decode_block(const std::uint8_t* block, std::size_t size, const std::vector<Run>& runs,
                  std::uint8_t* out);

}  // namespace ternzip::container
