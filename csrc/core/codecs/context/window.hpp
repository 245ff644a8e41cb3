// The learned parts of the context model: coefficients with a precision, and sums of them.
//
// A coefficient moves by gradient / precision. Its precision starts at the inverse variance of its prior
// and grows by the curvature of what has been coded, as in a diagonal Newton method.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>

#include "core/codecs/context/tables.hpp"

namespace ternzip::context {

inline constexpr std::uint32_t kPrecisionLimit = 1U << 30;

// The precision (Q16) of a prior with this standard deviation in hundredths of a nat.
constexpr std::uint32_t prior(std::uint32_t hundredths) noexcept {
  return 65536U * 10000U / (hundredths * hundredths);
}

inline void grow(std::uint32_t& precision, std::uint64_t curvature) noexcept {
  precision = static_cast<std::uint32_t>(std::min<std::uint64_t>(precision + curvature, kPrecisionLimit));
}

// A coefficient (Q16 nats), kept within 256 nats so that sums of a window fit 32 bits whatever a payload
// makes of it.
inline constexpr std::int64_t kCoefficientLimit = 1 << 24;
inline void move(std::int32_t& mean, std::int64_t gradient, std::uint32_t precision) noexcept {
  const std::int64_t moved = mean + ((gradient * reciprocal(precision)) >> 16);
  mean = static_cast<std::int32_t>(std::clamp(moved, -kCoefficientLimit, kCoefficientLimit));
}

struct Scalar {
  std::int32_t mean = 0;
  std::uint32_t precision = 0;
  void step(std::int64_t gradient, std::uint64_t curvature) noexcept {
    grow(precision, curvature);
    move(mean, gradient, precision);
  }
};

// The window of earlier neighbours: 1 and 2 back, then the row above from x + 2 to x - 2, then the row above
// that. One coefficient for each, shared by all places.
inline constexpr std::size_t kNear = 7, kFar = 5, kWindowLanes = kNear + kFar;

// What a sign's logit (Q12) is at most without similarity: two patterns of all lanes, in a tree with a pair's
// coefficient on each, and the base, which is the logarithm of a ratio of 64-bit counts.
inline constexpr std::int64_t kOtherTermsLimit =
    2 * 2 * static_cast<std::int64_t>(kWindowLanes) * (kCoefficientLimit >> (16 - kLogitBits)) +
    (45 << kLogitBits);

using WindowGradients = std::array<std::int64_t, kWindowLanes + 1>;  // the last: of no lane

class Window {
 public:
  Window(std::uint32_t precision, std::int32_t neighbour) noexcept : precision_(precision) {
    coefficients_[0] = coefficients_[4] = neighbour;
  }
  std::int32_t lane(std::size_t j) const noexcept { return coefficients_[j] >> (16 - kLogitBits); }  // Q12
  void learn(const WindowGradients& gradients, std::uint64_t curvature) noexcept {
    grow(precision_, curvature);
    for (std::size_t j = 0; j < kWindowLanes; ++j) move(coefficients_[j], gradients[j], precision_);
  }

 private:
  std::uint32_t precision_;
  std::int32_t coefficients_[kWindowLanes + 1] = {};  // the last: of no lane, stays 0
};

// Sums of lanes for every pattern of set lanes, and the gradients met under each pattern: a weight costs
// look-ups, and the coefficients move once in a while.
template <std::size_t kBits>
class PatternTable {
 public:
  std::int32_t sum(std::size_t pattern) const noexcept { return sums_[pattern]; }
  void add(std::size_t pattern, std::int32_t gradient) noexcept { gradients_[pattern] += gradient; }

  // The patterns at `base` (a multiple of their number) have bit b for lanes[b], which adds value(lanes[b]).
  template <class Value>
  void fill(std::size_t base, std::size_t bits, std::int32_t start, Value value) noexcept {
    std::int32_t* sums = sums_ + base;
    sums[0] = start;
    for (std::size_t b = 0; b < bits; ++b) {
      const std::size_t half = std::size_t{1} << b;
      const std::int32_t lane = value(b);
      for (std::size_t m = 0; m < half; ++m) sums[half + m] = sums[m] + lane;
    }
  }
  // Hands collect(b, sum) the gradient of bit b, and returns the gradient of all patterns; clears them.
  template <class Collect>
  std::int32_t fold(std::size_t base, std::size_t bits, Collect collect) noexcept {
    std::int32_t* gradients = gradients_ + base;
    for (std::size_t b = bits; b-- > 0;) {
      const std::size_t half = std::size_t{1} << b;
      std::int32_t sum = 0;
      for (std::size_t m = 0; m < half; ++m) {
        const std::int32_t g = gradients[half + m];
        sum += g;
        gradients[m] += g;
        gradients[half + m] = 0;
      }
      collect(b, sum);
    }
    const std::int32_t all = gradients[0];
    gradients[0] = 0;
    return all;
  }

 private:
  alignas(16) std::int32_t sums_[std::size_t{1} << kBits] = {};  // Q12
  alignas(16) std::int32_t gradients_[std::size_t{1} << kBits] = {};
};

// How often a logit turned out to be a one, learned in bins of a quarter of a nat: averaged with what the
// logit says, this corrects a model that is too sure or not sure enough.
class Refinement {
 public:
  Refinement() noexcept {
    for (std::size_t j = 0; j < kBins; ++j) rates_[j] = std::uint32_t{kSquash[j * 32 + 16]} << 16;
  }
  // `index` is squash_index of the logit.
  std::uint32_t& rate(std::uint32_t index) noexcept { return rates_[index >> kShift]; }
  static std::uint32_t average(std::uint32_t guess, std::uint32_t rate) noexcept {
    return (guess + (rate >> 16) + 1) >> 1;
  }
  static void learn(std::uint32_t& rate, std::uint32_t bit) noexcept {
    rate += ((0U - bit) >> kRate) - (rate >> kRate);
  }

 private:
  static constexpr int kShift = kLogitBits - 2, kRate = 7;
  static constexpr std::size_t kBins = kSquashSize / 32;
  std::uint32_t rates_[kBins];
};

}  // namespace ternzip::context
