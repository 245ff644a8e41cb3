#include "core/tensor/element_writer.hpp"

#include <algorithm>
#include <bit>

#include "core/tensor/scan_kernels.hpp"

namespace ternzip {

ElementWriter::ElementWriter(const Format& format, const std::uint64_t* negative,
                             const std::uint64_t* positive, std::size_t row_size, std::size_t first,
                             void* out) noexcept
    : format_(format),
      negative_(negative),
      positive_(positive),
      row_size_(row_size != 0 ? row_size : std::numeric_limits<std::size_t>::max()),
      row_(row_size != 0 ? first / row_size : 0),
      left_in_row_(row_size_ - first % row_size_),
      out_(static_cast<unsigned char*>(out)) {}

void ElementWriter::write(const std::int8_t* trits, std::size_t n) noexcept {
  const auto width = static_cast<std::size_t>(std::countr_zero(format_.width));
  const auto match = scan_kernels().match[0];
  const auto expand = scan_kernels().expand[width];
  while (n != 0) {
    if (left_in_row_ == 0) {
      left_in_row_ = row_size_;
      ++row_;
    }
    const std::size_t size = std::min({n, left_in_row_, kScanBlock});
    const PatternCounts found = match(trits, size, 0xff, 1, 0);
    counts_.negative += found.negative;
    counts_.zero += found.zero;
    counts_.positive += found.positive;
    counts_.invalid += size - found.negative - found.zero - found.positive;
    const bool no_negative = negative_[row_] == 0 && found.negative != 0;
    const bool no_positive = positive_[row_] == 0 && found.positive != 0;
    if ((no_negative || no_positive) && missing_level_row_ == kNoRow) {
      missing_level_row_ = row_;
      missing_level_symbol_ = no_negative ? -1 : 1;
    }
    expand(trits, size, negative_[row_], positive_[row_], out_);
    trits += size;
    out_ += size * format_.width;
    left_in_row_ -= size;
    n -= size;
  }
}

}  // namespace ternzip
