// Ternary tensors with a pair of levels for each block of a grid: is this one, and how do its levels lie.
//
// The grid is the coarsest that is found: one block for the tensor; rows of two elements or more; the widest
// blocks of eight elements or more that leave each block at most one negative and one positive level. Blocks
// of several rows come from joining those of one row. A level that does not occur in a block is open, so
// blocks may join that differ in what they lack.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

#include "core/base/trit_counts.hpp"
#include "core/tensor/dtype.hpp"
#include "core/tensor/level_grid.hpp"

namespace ternzip {

struct BlockLevels {
  bool is_ternary = false;
  LevelGrid grid{1, 1, 1};
  std::size_t blocks = 0;
  // An element of the type for each block, all bits 0 where the level does not occur.
  std::unique_ptr<unsigned char[]> negative;
  std::unique_ptr<unsigned char[]> positive;
  TritCounts counts;                 // zeros of both signs
  std::uint64_t negative_zeros = 0;  // of which negative
};

// Elements are those of core/tensor/ternary_tensor.hpp; without any, the tensor is not ternary. The result
// does not depend on the number of threads. A tensor of arbitrary values is turned down after a few of them;
// one that is ternary takes some passes. Throws std::bad_alloc.
BlockLevels detect_block_levels(const void* src, std::size_t rows, std::size_t row_size, const Format& format,
                                unsigned threads);

}  // namespace ternzip
