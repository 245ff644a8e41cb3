// Predictions of signs from similar rows and columns: every row is regressed on the kLanes rows before it,
// every column on the kLanes columns before it.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "core/context.hpp"
#include "core/context_window.hpp"

namespace ternzip::context {

// Q12 predictions; `sum` is what they come to when each is trusted as far as it has earned.
struct Similar {
  std::int32_t by_row = 0, by_column = 0, sum = 0;
};

// In a matrix a group is a run of columns, and a place in it is a column; else a group is the kernel of one
// column. Of a matrix the columns before a group are those before its first.
template <std::size_t kLanes>
class Similarity {
 public:
  Similarity(const Geometry& geometry, std::uint32_t precision, std::uint32_t curvature)
      : line_(geometry.kernel == 1),
        kernel_(geometry.kernel),
        stride_(geometry.cols + kLanes),
        first_precision_(precision),
        curvature_(curvature),
        row_weights_(kLanes),
        column_weights_(geometry.cols * kLanes),
        row_precision_(precision),
        column_precisions_(geometry.cols, precision),
        rows_before_(geometry.cols * geometry.kernel * kLanes),
        columns_before_(geometry.kernel * stride_) {}

  void begin_row() noexcept {
    std::fill(row_weights_.begin(), row_weights_.end(), std::int16_t{0});
    row_precision_ = first_precision_;
  }

  // What is known of the weight at `place` of the group that begins at column `first`.
  Similar predict(std::size_t first, std::size_t place) const noexcept {
    Similar similar;
    similar.by_row = dot(row_weights_.data(), rows(first, place), kLanes);
    similar.by_column =
        dot(column_weights_.data() + column(first, place) * kLanes, columns(first, place), kLanes);
    similar.sum = row_gain_.apply(similar.by_row) + column_gain_.apply(similar.by_column);
    return similar;
  }

  // Learns from `signs` that have a place, a prediction and its gradient. The rates are those of before.
  template <class Sign>
  void learn(std::size_t first, const Sign* signs, std::size_t count) noexcept {
    const std::int32_t row_rate = reciprocal(row_precision_);
    for (const Sign* sign = signs; sign != signs + count; ++sign) {
      row_gain_.add(sign->gradient, sign->similar.by_row);
      column_gain_.add(sign->gradient, sign->similar.by_column);
      const std::size_t i = column(first, sign->place);
      adapt(row_weights_.data(), rows(first, sign->place), sign->gradient, row_rate, kLanes);
      adapt(column_weights_.data() + i * kLanes, columns(first, sign->place), sign->gradient,
            reciprocal(column_precisions_[i]), kLanes);
      if (line_) grow(column_precisions_[i], curvature_);
    }
    row_gain_.learn();
    column_gain_.learn();
    grow(row_precision_, count * std::uint64_t{curvature_});
    if (!line_) grow(column_precisions_[first], count * std::uint64_t{curvature_});
  }

  // After a group of row `row`.
  template <class Trit>
  void remember(std::size_t row, std::size_t first, const Trit* trits, std::size_t count) noexcept {
    for (std::size_t k = 0; k < count; ++k) {
      const auto value = static_cast<std::int8_t>(-trits[k]);
      rows_before_[(first * kernel_ + k) * kLanes + row % kLanes] = value;
      columns_before_[(line_ ? k : k * stride_) + kLanes + first] = value;
    }
  }

 private:
  std::size_t column(std::size_t first, std::size_t place) const noexcept {
    return line_ ? first + place : first;
  }
  const std::int8_t* rows(std::size_t first, std::size_t place) const noexcept {
    return rows_before_.data() + (first * kernel_ + place) * kLanes;
  }
  const std::int8_t* columns(std::size_t first, std::size_t place) const noexcept {
    return columns_before_.data() + (line_ ? 0 : place * stride_) + first;
  }

  bool line_;
  std::size_t kernel_, stride_;
  std::uint32_t first_precision_, curvature_;
  std::vector<std::int16_t> row_weights_, column_weights_;
  std::uint32_t row_precision_;
  std::vector<std::uint32_t> column_precisions_;
  std::vector<std::int8_t> rows_before_;     // of every weight of a row, a ring of the rows before
  std::vector<std::int8_t> columns_before_;  // of every place of a kernel, the row's columns so far
  Gain row_gain_, column_gain_;
};

}  // namespace ternzip::context
