// Where decoded trits become the elements of a tensor: they are put in place while they are in the cache, and
// counted on the way, since a file states how often each symbol occurs.
#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>

#include "core/tensor/dtype.hpp"
#include "core/tensor/ternary_tensor.hpp"

namespace ternzip {

class ElementWriter {
 public:
  static constexpr std::size_t kNoRow = std::numeric_limits<std::size_t>::max();

  // Elements go to `out` one after another; the first is the tensor's element number `first`. Levels are one
  // pair, or, where row_size is not 0, one for every row_size elements of the tensor, 0 where a row lacks it.
  // Neither `out` nor what was put there needs alignment.
  ElementWriter(const Format& format, const std::uint64_t* negative, const std::uint64_t* positive,
                std::size_t row_size, std::size_t first, void* out) noexcept;

  // The level by the sign of each int8, +0 for 0.
  void write(const std::int8_t* trits, std::size_t n) noexcept;

  // Of all that was put: values beyond -1, 0 and +1 are counted as invalid.
  const CheckedTritCounts& counts() const noexcept { return counts_; }
  // The first row that was given a symbol it has no level for, kNoRow if there is none (or one pair of
  // levels).
  std::size_t missing_level_row() const noexcept { return missing_level_row_; }
  // That symbol: -1 or +1.
  int missing_level_symbol() const noexcept { return missing_level_symbol_; }

 private:
  Format format_;
  const std::uint64_t* negative_;
  const std::uint64_t* positive_;
  std::size_t row_size_;
  std::size_t row_ = 0;
  std::size_t left_in_row_;
  unsigned char* out_;
  CheckedTritCounts counts_;
  std::size_t missing_level_row_ = kNoRow;
  int missing_level_symbol_ = 0;
};

}  // namespace ternzip
