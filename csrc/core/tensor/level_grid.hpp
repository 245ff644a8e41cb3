// How a tensor's levels lie: on a grid of blocks, each with one pair of levels.
#pragma once

#include <cstddef>

namespace ternzip {

// Blocks of `height` rows (indices of dimension 0) by `width` consecutive elements of a row; the last ones
// may be smaller. Blocks are numbered from left to right, then downwards. One block holds the tensor where
// neither its rows exceed `height` nor row_size exceeds `width`.
struct LevelGrid {
  std::size_t row_size;  // elements of a row, at least 1
  std::size_t height;    // rows, at least 1
  std::size_t width;     // elements of a row, from 1 to row_size

  std::size_t blocks_per_row() const noexcept { return row_size / width + (row_size % width != 0 ? 1 : 0); }
};

}  // namespace ternzip
