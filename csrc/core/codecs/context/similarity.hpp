// Predictions of signs from similar rows and columns: every row is regressed on the kLanes rows before it,
// every column on the kLanes columns before it.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "core/base/compiler.hpp"
#include "core/codecs/context/context.hpp"
#include "core/codecs/context/window.hpp"

namespace ternzip::context {

// The learned factor of a prediction y (Q12): how far it can be trusted.
class Gain {
 public:
  std::int64_t apply(std::int32_t y) const noexcept { return (std::int64_t{factor_.mean} * y) >> 16; }
  void add(std::int32_t gradient, std::int32_t y) noexcept {
    gradient_ += (std::int64_t{gradient} * y) >> kLogitBits;
    curvature_ += static_cast<std::uint64_t>(std::int64_t{y} * y) >> 10;  // y^2 / 4 in Q16
  }
  void learn() noexcept {
    factor_.step(gradient_, curvature_);
    gradient_ = 0;
    curvature_ = 0;
  }

 private:
  Scalar factor_{1 << 16, 4 << 16};
  std::int64_t gradient_ = 0;
  std::uint64_t curvature_ = 0;
};

// A payload can drive a sum of two terms beyond 32 bits. Beyond this limit a sum decides alone, whatever is
// added to it: the logit ends as that of a sure bit and the magnitude as the largest, so no bit depends on
// what is cut off. A branch that is never taken costs less than a clamp.
inline constexpr std::int64_t kPredictionLimit = std::int64_t{1} << 28;
static_assert(kPredictionLimit >= kSquashLimit + kOtherTermsLimit);
constexpr std::int32_t limited_prediction(std::int64_t logit) noexcept {
  if (logit > kPredictionLimit || logit < -kPredictionLimit) [[unlikely]]
    return static_cast<std::int32_t>(logit > 0 ? kPredictionLimit : -kPredictionLimit);
  return static_cast<std::int32_t>(logit);
}

// Lanes and their Q12 coefficients are both of 16 bits: what processors multiply and add up fastest. The sums
// wrap around, on purpose: no payload can make them overflow, and no real tensor comes near.
template <std::size_t kLanes>
class Similarity {
 public:
  // What a sign is predicted from: the weight's lanes, in which a negative weight counts as 1 and a positive
  // one as -1.
  struct Context {
    std::int16_t *rows, *columns, *column_weights;
    std::int32_t by_row, by_column, prediction;  // Q12
  };

  Similarity(const Geometry& geometry, std::uint32_t precision, std::uint32_t curvature)
      : kernel_(geometry.kernel),
        stride_(geometry.cols + kLanes),
        first_precision_(precision),
        curvature_(curvature),
        row_precision_(precision),
        row_weights_(kLanes),
        column_weights_(geometry.cols * kLanes),
        column_precisions_(geometry.cols, precision),
        rows_before_(geometry.cols * geometry.kernel * kLanes),
        columns_before_(geometry.kernel * stride_) {}

  // The prediction for a weight of the row.
  TERNZIP_INLINE Context context(std::size_t column, std::size_t place) noexcept {
    Context context;
    context.rows = rows_before_.data() + (column * kernel_ + place) * kLanes;
    context.columns = columns_before_.data() + place * stride_ + column;
    context.column_weights = column_weights_.data() + column * kLanes;
    context.by_row = dot(row_weights_.data(), context.rows);
    context.by_column = dot(context.column_weights, context.columns);
    context.prediction =
        limited_prediction(row_gain_.apply(context.by_row) + column_gain_.apply(context.by_column));
    return context;
  }

  // Learns from its sign, given the gradient.
  TERNZIP_INLINE void learn(std::size_t column, const Context& context, std::int32_t gradient) noexcept {
    row_gain_.add(gradient, context.by_row);
    column_gain_.add(gradient, context.by_column);
    adapt(row_weights_.data(), context.rows, gradient, reciprocal(row_precision_));
    adapt(context.column_weights, context.columns, gradient, reciprocal(column_precisions_[column]));
    grow(row_precision_, curvature_);
    grow(column_precisions_[column], curvature_);
    context.columns[kLanes] = gradient > 0 ? 1 : -1;
  }

  // Once in a while.
  void learn_gains() noexcept {
    row_gain_.learn();
    column_gain_.learn();
  }

  // After row number `row`, whose trits these are.
  void end_row(std::size_t row, const std::int8_t* trits) noexcept {
    row_precision_ = first_precision_;
    std::fill(row_weights_.begin(), row_weights_.end(), std::int16_t{0});
    std::fill(columns_before_.begin(), columns_before_.end(), std::int16_t{0});
    std::int16_t* lane = rows_before_.data() + row % kLanes;
    for (std::size_t i = 0; i < rows_before_.size() / kLanes; ++i, lane += kLanes) {
      *lane = static_cast<std::int16_t>(-trits[i]);
    }
  }

 private:
  // The largest term: a gain of 256 nats, every lane at its largest weight.
  static constexpr std::int64_t kLargestTerm =
      (kCoefficientLimit * static_cast<std::int64_t>(kLanes << 15)) >> 16;
  static_assert(limited_prediction(2 * kLargestTerm) == kPredictionLimit);
  static_assert(limited_prediction(-2 * kLargestTerm) == -kPredictionLimit);

  TERNZIP_INLINE static std::int32_t dot(const std::int16_t* weights, const std::int16_t* lanes) noexcept {
    std::int32_t sum = 0;
    for (std::size_t j = 0; j < kLanes; ++j) sum += std::int32_t{weights[j]} * lanes[j];
    return sum;
  }
  TERNZIP_INLINE static void adapt(std::int16_t* TERNZIP_RESTRICT weights,
                                   const std::int16_t* TERNZIP_RESTRICT lanes, std::int32_t gradient,
                                   std::int32_t rate) noexcept {
    const auto step = static_cast<std::int16_t>((std::int64_t{gradient} * rate + (1 << 19)) >> 20);
    for (std::size_t j = 0; j < kLanes; ++j) {
      weights[j] = static_cast<std::int16_t>(weights[j] + lanes[j] * step);
    }
  }

  std::size_t kernel_, stride_;
  std::uint32_t first_precision_, curvature_, row_precision_;
  std::vector<std::int16_t> row_weights_, column_weights_;
  std::vector<std::uint32_t> column_precisions_;
  std::vector<std::int16_t> rows_before_;     // of every weight of a row, a ring of the rows before
  std::vector<std::int16_t> columns_before_;  // of every place of a kernel, the row's columns so far
  Gain row_gain_, column_gain_;
};

}  // namespace ternzip::context
