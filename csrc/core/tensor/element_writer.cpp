#include "core/tensor/element_writer.hpp"

#include <algorithm>

#include "core/tensor/patterns.hpp"
#include "core/tensor/scan_kernels.hpp"

namespace ternzip {

ElementWriter::ElementWriter(const Format& format, const void* negative, const void* positive,
                             const LevelGrid& grid, std::size_t first, void* out) noexcept
    : format_(format),
      negative_(negative),
      positive_(positive),
      grid_(grid),
      blocks_per_row_(grid.blocks_per_row()),
      out_(static_cast<unsigned char*>(out)) {
  const std::size_t row = first / grid.row_size, column = first % grid.row_size;
  enter_block(row, column - column % grid.width);
  left_ -= column % grid.width;
}

void ElementWriter::enter_block(std::size_t row, std::size_t column) noexcept {
  row_ = row;
  block_ = row / grid_.height * blocks_per_row_ + column / grid_.width;
  left_ = std::min(grid_.width, grid_.row_size - column);
  column_ = column + left_;
}

void ElementWriter::write(const std::int8_t* trits, std::size_t n) noexcept {
  const auto match = scan_kernels().match[0];
  while (n != 0) {
    const std::size_t size = std::min(n, kScanBlock);
    const PatternCounts found = match(trits, size, 0xff, 1, 0);
    counts_.negative += found.negative;
    counts_.zero += found.zero;
    counts_.positive += found.positive;
    counts_.invalid += size - found.negative - found.zero - found.positive;
    put(trits, size, found.negative != 0, found.positive != 0);
    trits += size;
    n -= size;
  }
}

void ElementWriter::put(const std::int8_t* trits, std::size_t n, bool any_negative,
                        bool any_positive) noexcept {
  const auto expand = scan_kernels().expand[width_index(format_)];
  while (n != 0) {
    if (left_ == 0) {
      const bool row_ends = column_ == grid_.row_size;
      enter_block(row_ends ? row_ + 1 : row_, row_ends ? 0 : column_);
    }
    const std::size_t size = std::min(n, left_);
    const std::uint64_t negative = load_pattern(negative_, block_, format_.width);
    const std::uint64_t positive = load_pattern(positive_, block_, format_.width);
    const bool no_negative = any_negative && negative == 0, no_positive = any_positive && positive == 0;
    if (no_negative || no_positive) note_missing(trits, size, no_negative, no_positive);
    expand(trits, size, negative, positive, out_);
    trits += size;
    out_ += size * format_.width;
    left_ -= size;
    n -= size;
  }
}

void ElementWriter::note_missing(const std::int8_t* trits, std::size_t n, bool no_negative,
                                 bool no_positive) noexcept {
  if (missing_level_block_ != kNoBlock) return;
  const PatternCounts found = scan_kernels().match[0](trits, n, 0xff, 1, 0);
  const bool lacks_negative = no_negative && found.negative != 0;
  if (!lacks_negative && !(no_positive && found.positive != 0)) return;
  missing_level_block_ = block_;
  missing_level_symbol_ = lacks_negative ? -1 : 1;
}

}  // namespace ternzip
