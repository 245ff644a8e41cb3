// Is a weight zero? The model of flags, which are ones for nonzeros:
//   flag = base + row + column + place + window of the flags before (+ magnitude)
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "core/base/compiler.hpp"
#include "core/codecs/context/neighbours.hpp"
#include "core/codecs/context/recipe.hpp"
#include "core/codecs/context/window.hpp"

namespace ternzip::context {

// With kMagnitude, what is known of a weight's sign tells also whether it is zero.
template <Shape kShape, bool kMagnitude>
class Flags {
  static constexpr bool kLine = kShape == Shape::kLine;
  static constexpr std::size_t kMagnitudes = kMagnitude ? 8 : 1;
  static constexpr int kMagnitudeShift = kLogitBits - 1;  // of half a nat
  // Standard deviations of the priors, in hundredths of a nat.
  static constexpr std::uint32_t kPlacePrior = prior(20), kWindowPrior = prior(30),
                                 kMagnitudePrior = prior(30);
  static constexpr std::int32_t kKernelRate = 6144;  // Q16
  static constexpr std::int32_t kNeighbour = 19661;  // Q16: 0.3 nats
  static constexpr std::uint64_t kFirstPeriod = kMagnitude ? 64 : 256, kLastPeriod = kMagnitude ? 64 : 1024;

 public:
  // `neighbours` must stay where they are.
  Flags(const Geometry& geometry, const Neighbours& neighbours, const Priors& priors, std::int32_t base,
        std::uint32_t density)
      : neighbours_(&neighbours),
        group_(group_of(geometry.kernel)),
        base_(base),
        density_(density),
        row_prior_(priors.row),
        columns_(geometry.cols, Scalar{0, priors.column}),
        places_(kLine ? 0 : group_),
        place_gradients_(places_.size()),
        window_(kWindowPrior, kLine ? 0 : kNeighbour) {
    // so that the window's start leaves the mean rate where it is
    for (std::size_t k = 0; k < places_.size(); ++k) {
      places_[k] = -static_cast<std::int32_t>((neighbours.kernel.closest(k) * kNeighbour * density) >> 16);
    }
    std::fill(std::begin(magnitudes_), std::end(magnitudes_), Scalar{0, kMagnitudePrior});
    tabulate();
  }

  static std::size_t magnitude(std::int32_t sign_logit) noexcept {
    const std::uint32_t size = static_cast<std::uint32_t>(sign_logit < 0 ? -sign_logit : sign_logit);
    return std::min<std::size_t>(size >> kMagnitudeShift, kMagnitudes - 1);
  }

  // One row's flags. What its loop needs is kept here, in registers.
  class Row {
   public:
    // The nonzeros are listed at `nonzeros`, which has room for one more than the row has weights.
    TERNZIP_INLINE Row(Flags& flags, Position* nonzeros) : flags_(flags), nonzeros_end_(nonzeros) {
      flags_.bias_ = Scalar{0, flags_.row_prior_};
    }

    TERNZIP_INLINE void begin_group(std::size_t column) {
      column_ = column;
      group_begin_ = nonzeros_end_;
      guesses_ = 0;
      logit_ = flags_.base_ + (flags_.bias_.mean >> 4);
      rate_ = reciprocal(flags_.bias_.precision);
      if constexpr (!kLine) {
        history_ = kShape == Shape::kTree ? 1 : 0;
        logit_ += flags_.columns_[column].mean >> 4;
        rate_ += kKernelRate + reciprocal(flags_.columns_[column].precision);
      }
    }

    // The place of the group's next weight, which is its k-th.
    TERNZIP_INLINE Position position(std::size_t k) const {
      return kLine ? Position(column_ + k, 0) : Position(column_, kShape == Shape::kTree ? history_ : k);
    }

    // Codes a flag; with kKnown, given the bin of its magnitude.
    template <bool kKnown, class Coder>
    TERNZIP_INLINE std::uint32_t code(Coder& coder, std::size_t k, bool nonzero, std::size_t magnitude = 0) {
      const Pattern before = pattern_before(k);
      std::int32_t logit = logit_ + flags_.sums_.sum(before);
      if constexpr (kKnown) logit += flags_.magnitudes_[magnitude].mean >> 4;
      if constexpr (kShape == Shape::kPlane) logit += flags_.places_[k] >> 4;
      if constexpr (kLine) logit += flags_.columns_[column_ + k].mean >> 4;
      const std::uint32_t index = squash_index(logit);
      const std::uint32_t guess = kSquash[index >> kSquashShift];
      std::uint32_t& refined = flags_.refinement_.rate(index);
      std::uint32_t p = Refinement::average(guess, refined);
      std::uint32_t& refined_too = flags_.magnitude_refinements_[magnitude].rate(index);
      if constexpr (kKnown) p = Refinement::average(p, refined_too);
      const std::uint32_t bit = coder.code(p, nonzero);
      Refinement::learn(refined, bit);
      const auto g = static_cast<std::int32_t>((bit << 16) - guess);
      if constexpr (kKnown) {
        Refinement::learn(refined_too, bit);
        flags_.magnitudes_[magnitude].step(g, variance(guess));
      }
      guesses_ += guess;
      logit_ += static_cast<std::int32_t>((std::int64_t{g} * rate_) >> 20);
      flags_.sums_.add(before, g);
      if constexpr (kShape == Shape::kPlane) flags_.place_gradients_[k] += g;
      if constexpr (kLine) flags_.columns_[column_ + k].step(g, variance(guess));
      *nonzeros_end_ = position(k);
      nonzeros_end_ += bit;
      history_ = kShape == Shape::kTree ? 2 * history_ + bit : (history_ | bit) << 1;
      return bit;
    }

    TERNZIP_INLINE void end_group(std::size_t size) {
      const auto gradient =
          static_cast<std::int32_t>(((nonzeros_end_ - group_begin_) << 16) - std::int64_t{guesses_});
      // what the sum of the variances were if all guesses were alike
      const std::uint64_t square = std::uint64_t{guesses_} * guesses_;
      const auto curvature = guesses_ - static_cast<std::uint32_t>((square * flags_.inverse(size)) >> 32);
      // A row of a matrix varies from place to place more than one bias can tell: it keeps learning.
      flags_.bias_.step(gradient, kLine ? curvature / 2 : curvature);
      if constexpr (!kLine) flags_.columns_[column_].step(gradient, curvature);
      flags_.learn(size, curvature);
    }

    TERNZIP_INLINE Position* nonzeros_end() const { return nonzeros_end_; }

   private:
    TERNZIP_INLINE Pattern pattern_before(std::size_t k) const {
      if constexpr (kShape == Shape::kTree) return {static_cast<std::uint32_t>(history_), 0};
      if constexpr (kLine) return flags_.neighbours_->nonzero.pattern(history_, column_ + k);
      return flags_.neighbours_->kernel.pattern(history_, k);
    }

    Flags& flags_;
    Position* nonzeros_end_;
    Position* group_begin_ = nullptr;  // the group's first nonzero
    std::size_t column_ = 0;
    std::uint64_t history_ = 0;
    std::int32_t logit_ = 0, rate_ = 0;
    std::uint32_t guesses_ = 0;
  };

 private:
  static std::uint32_t variance(std::uint32_t guess) noexcept { return (guess * (kProbOne - guess)) >> 16; }

  std::uint64_t inverse(std::size_t size) const noexcept {
    return size == group_ ? inverse_ : kProbOne / size;
  }

  void learn(std::size_t size, std::uint32_t curvature) noexcept {
    since_ += size;
    curvature_since_ += curvature;
    if (since_ < period_) [[likely]]
      return;
    learn_window();
  }

  TERNZIP_NOINLINE void learn_window() noexcept {
    WindowGradients lanes{};
    if constexpr (kShape == Shape::kTree) {
      sums_.fold(
          lanes, neighbours_->kernel, group_,
          [&](std::size_t k, std::int32_t sum) { place_gradients_[k] = sum; },
          [](std::size_t, std::size_t, std::int32_t) {});
    } else {
      sums_.fold(lanes);
    }
    window_.learn(lanes, (curvature_since_ * density_) >> 16);
    grow(place_precision_, curvature_since_ / group_);
    for (std::size_t k = 0; k < places_.size(); ++k) {
      move(places_[k], place_gradients_[k], place_precision_);
      place_gradients_[k] = 0;
    }
    since_ = curvature_since_ = 0;
    period_ = std::min(2 * period_, kLastPeriod);
    tabulate();
  }

  void tabulate() noexcept {
    if constexpr (kShape == Shape::kTree) {
      sums_.fill(
          window_, neighbours_->kernel, group_, [&](std::size_t k) { return places_[k] >> 4; },
          [](std::size_t, std::size_t) { return 0; });
    } else {
      sums_.fill(window_);
    }
  }

  const Neighbours* neighbours_;
  std::size_t group_;
  std::uint64_t inverse_ = kProbOne / group_;
  std::int32_t base_;
  std::uint32_t density_, row_prior_;  // Q16
  Scalar bias_;
  std::vector<Scalar> columns_;
  std::vector<std::int32_t> places_, place_gradients_;
  std::uint32_t place_precision_ = kPlacePrior;
  Window window_;
  WindowSums<kShape> sums_;
  Refinement refinement_, magnitude_refinements_[kMagnitudes];
  Scalar magnitudes_[kMagnitudes];
  std::uint64_t period_ = kFirstPeriod, since_ = 0, curvature_since_ = 0;
};

}  // namespace ternzip::context
