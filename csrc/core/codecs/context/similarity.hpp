// Predictions of signs from similar rows and columns: every row is regressed on the kLanes rows before it,
// every column on the kLanes columns before it. Where kernels are smoothed, a weight's adjacent places in
// them count too: the filters of a network that has not trained for long are alike in the large only.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "core/base/compiler.hpp"
#include "core/codecs/context/context.hpp"
#include "core/codecs/context/neighbours.hpp"
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

// What of rows and columns is compared. A constant where signs are coded: a branch on it for every sign costs
// one in twenty.
enum class Compared { kNothing, kWeights, kSmoothed };

// Lanes and their Q12 coefficients are both of 16 bits: what processors multiply and add up fastest. The sums
// wrap around, on purpose: no payload can make them overflow, and no real tensor comes near.
template <std::size_t kLanes>
class Similarity {
 public:
  // What a sign is predicted from: the weight's lanes, in which a negative weight counts as 1 and a positive
  // one as -1. Smoothed lanes are in quarters: twice the weight, plus those adjacent.
  struct Context {
    std::int16_t *rows, *columns, *column_weights;
    std::int32_t by_row, by_column, prediction;  // Q12
  };

  // `density` is that of nonzeros, in Q16.
  Similarity(const Geometry& geometry, const KernelPlane& plane, std::uint32_t precision,
             std::uint32_t density, bool smooth)
      : kernel_(geometry.kernel),
        stride_(geometry.cols + kLanes),
        first_precision_(precision),
        curvature_((smooth ? 3 : 1) * (density / 4)),
        row_precision_(precision),
        row_weights_(kLanes),
        column_weights_(geometry.cols * kLanes),
        column_precisions_(geometry.cols, precision),
        rows_before_(geometry.cols * geometry.kernel * kLanes),
        columns_before_(geometry.kernel * stride_),
        adjacent_(smooth ? kernel_ : 0) {
    for (std::size_t k = 0; k < adjacent_.size(); ++k) adjacent_[k] = plane.adjacent(k);
  }

  // kWeights or kSmoothed, as `smooth` was: what the functions below are to be called with.
  Compared compared() const noexcept { return adjacent_.empty() ? Compared::kWeights : Compared::kSmoothed; }

  // The prediction for a weight of the row.
  template <Compared kCompared>
  TERNZIP_INLINE Context context(std::size_t column, std::size_t place) noexcept {
    Context context;
    context.rows = rows_before_.data() + (column * kernel_ + place) * kLanes;
    context.columns = columns_before_.data() + place * stride_ + column;
    context.column_weights = column_weights_.data() + column * kLanes;
    context.by_row = dot(row_weights_.data(), context.rows) >> kShift<kCompared>;
    context.by_column = dot(context.column_weights, context.columns) >> kShift<kCompared>;
    context.prediction =
        limited_prediction(row_gain_.apply(context.by_row) + column_gain_.apply(context.by_column));
    return context;
  }

  // Learns from its sign, given the gradient.
  template <Compared kCompared>
  TERNZIP_INLINE void learn(std::size_t column, std::size_t place, const Context& context,
                            std::int32_t gradient) noexcept {
    row_gain_.add(gradient, context.by_row);
    column_gain_.add(gradient, context.by_column);
    adapt<kCompared>(row_weights_.data(), context.rows, gradient, reciprocal(row_precision_));
    adapt<kCompared>(context.column_weights, context.columns, gradient,
                     reciprocal(column_precisions_[column]));
    grow(row_precision_, curvature_);
    grow(column_precisions_[column], curvature_);
    const auto trit = static_cast<std::int16_t>(gradient > 0 ? 1 : -1);
    if constexpr (kCompared == Compared::kWeights) {
      context.columns[kLanes] = trit;
    } else {
      std::int16_t* const lanes = columns_before_.data() + column + kLanes;
      lanes[place * stride_] = static_cast<std::int16_t>(lanes[place * stride_] + 2 * trit);
      for (const std::size_t k : adjacent_[place]) {
        lanes[k * stride_] = static_cast<std::int16_t>(lanes[k * stride_] + trit);
      }
    }
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
    for (std::size_t column = 0; column < column_precisions_.size(); ++column, trits += kernel_) {
      for (std::size_t k = 0; k < kernel_; ++k, lane += kLanes) {
        *lane = static_cast<std::int16_t>(-(adjacent_.empty() ? trits[k] : smoothed(trits, k)));
      }
    }
  }

 private:
  template <Compared kCompared>
  static constexpr int kShift = kCompared == Compared::kSmoothed ? 2 : 0;  // lanes are in units of 2^-kShift

  // The largest term: a gain of 256 nats, every lane of six quarters at its largest weight.
  static constexpr std::int64_t kLargestTerm =
      (kCoefficientLimit * static_cast<std::int64_t>((6 * kLanes) << 13)) >> 16;
  static_assert(limited_prediction(2 * kLargestTerm) == kPredictionLimit);
  static_assert(limited_prediction(-2 * kLargestTerm) == -kPredictionLimit);

  // Twice the weight of a kernel and those adjacent to it.
  std::int16_t smoothed(const std::int8_t* kernel, std::size_t place) const noexcept {
    int sum = 2 * kernel[place];
    for (const std::size_t k : adjacent_[place]) sum += kernel[k];
    return static_cast<std::int16_t>(sum);
  }
  TERNZIP_INLINE static std::int32_t dot(const std::int16_t* weights, const std::int16_t* lanes) noexcept {
    std::int32_t sum = 0;
    for (std::size_t j = 0; j < kLanes; ++j) sum += std::int32_t{weights[j]} * lanes[j];
    return sum;
  }
  template <Compared kCompared>
  TERNZIP_INLINE static void adapt(std::int16_t* TERNZIP_RESTRICT weights,
                                   const std::int16_t* TERNZIP_RESTRICT lanes, std::int32_t gradient,
                                   std::int32_t rate) noexcept {
    constexpr int kBits = 20 + kShift<kCompared>;
    const auto step = static_cast<std::int16_t>(
        (std::int64_t{gradient} * rate + (std::int64_t{1} << (kBits - 1))) >> kBits);
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
  std::vector<AdjacentPlaces> adjacent_;      // of every place of a kernel; none if not smooth
  Gain row_gain_, column_gain_;
};

}  // namespace ternzip::context
