// Where decoded trits become the elements of a tensor: they are put in place while they are in the cache, and
// counted on the way, since a file states how often each symbol occurs.
#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>

#include "core/tensor/dtype.hpp"
#include "core/tensor/level_grid.hpp"
#include "core/tensor/ternary_tensor.hpp"

namespace ternzip {

class ElementWriter {
 public:
  static constexpr std::size_t kNoBlock = std::numeric_limits<std::size_t>::max();

  // Elements go to `out` one after another; the first is the tensor's element number `first`. `negative` and
  // `positive` hold an element of the format for each block of the grid, all bits 0 where a block lacks the
  // level. None of the pointers, nor what was put at `out`, needs alignment.
  ElementWriter(const Format& format, const void* negative, const void* positive, const LevelGrid& grid,
                std::size_t first, void* out) noexcept;

  // The level by the sign of each int8, +0 for 0.
  void write(const std::int8_t* trits, std::size_t n) noexcept;

  // Of all that was put: values beyond -1, 0 and +1 are counted as invalid.
  const CheckedTritCounts& counts() const noexcept { return counts_; }
  // The first block that was given a symbol it has no level for, kNoBlock if there is none.
  std::size_t missing_level_block() const noexcept { return missing_level_block_; }
  // That symbol: -1 or +1.
  int missing_level_symbol() const noexcept { return missing_level_symbol_; }

 private:
  void put(const std::int8_t* trits, std::size_t n, bool any_negative, bool any_positive) noexcept;
  void note_missing(const std::int8_t* trits, std::size_t n, bool no_negative, bool no_positive) noexcept;
  void enter_block(std::size_t row, std::size_t column) noexcept;

  Format format_;
  const void* negative_;
  const void* positive_;
  LevelGrid grid_;
  std::size_t blocks_per_row_;
  std::size_t row_ = 0;
  std::size_t column_ = 0;  // the first beyond the block in this row
  std::size_t block_ = 0;
  std::size_t left_ = 0;  // elements of the block in this row that are to come
  unsigned char* out_;
  CheckedTritCounts counts_;
  std::size_t missing_level_block_ = kNoBlock;
  int missing_level_symbol_ = 0;
};

}  // namespace ternzip
