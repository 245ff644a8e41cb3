// Is a nonzero negative? The model of signs but for similarity:
//   sign = base + window of the trits before
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "core/base/compiler.hpp"
#include "core/codecs/context/neighbours.hpp"
#include "core/codecs/context/recipe.hpp"
#include "core/codecs/context/window.hpp"

namespace ternzip::context {

// kMagnitude: the highest effort, which learns more often.
template <Shape kShape, bool kMagnitude>
class Signs {
  static constexpr bool kLine = kShape == Shape::kLine;
  static constexpr std::uint32_t kPairPrior = prior(20);
  static constexpr std::int32_t kNeighbour = 78643;  // Q16: 1.2 nats
  static constexpr std::uint64_t kFirstPeriod = kMagnitude ? 16 : 64, kLastPeriod = kMagnitude ? 16 : 128;

 public:
  // `neighbours` must stay where they are.
  Signs(const Geometry& geometry, const Neighbours& neighbours, const Priors& priors, std::int32_t base,
        std::uint32_t curvature)
      : neighbours_(&neighbours),
        group_(group_of(geometry.kernel)),
        base_(base),
        curvature_(curvature),
        window_(priors.sign_window, kLine ? 0 : kNeighbour) {
    tabulate();
  }

  // What a sign is predicted from.
  struct Context {
    Pattern negative, positive;
    std::uint32_t after = 0;  // in a tree: how many places of the kernel follow
    std::int32_t prediction = 0;
  };

  // One row's signs. What its loop needs is kept here, in registers.
  class Row {
   public:
    TERNZIP_INLINE explicit Row(Signs& signs) : signs_(signs) {}

    // The prediction for a weight, as a logit; positions come in order.
    TERNZIP_INLINE Context context(Position at) {
      Context context;
      if constexpr (kLine) {
        move_on(at.column() - last_.column());
        last_ = at;
        context.negative = signs_.neighbours_->negative.pattern(negative_, at.column());
        context.positive = signs_.neighbours_->nonzero.pattern(nonzero_, at.column()) ^ context.negative;
      } else {
        if constexpr (kShape == Shape::kTree) {
          negative_ &=
              0 - std::uint64_t{at.column() == last_.column()};  // no branch: it would be mispredicted
        } else if (at.column() != last_.column()) {
          nonzero_ = negative_ = 0;
          last_ = Position(at.column(), 0);
        }
        if constexpr (kShape == Shape::kPlane) {
          move_on(at.place() - last_.place());
          context.negative = signs_.neighbours_->kernel.pattern(negative_, at.place());
          context.positive = signs_.neighbours_->kernel.pattern(nonzero_, at.place()) ^ context.negative;
        } else {  // the negatives are kept as in a node, with the kernel's last place in bit 0
          const std::uint32_t k = place_in_kernel<kShape>(at);
          context.after = static_cast<std::uint32_t>(signs_.group_) - k - 1;
          const auto negative = static_cast<std::uint32_t>(negative_ >> (context.after + 1));
          context.negative.near_lanes = negative | 1U << k;
          context.positive.near_lanes = at.place() ^ negative;
        }
        last_ = at;
      }
      context.prediction = signs_.sums_.sum(context.negative) - signs_.sums_.sum(context.positive);
      return context;
    }

    // Codes the sign of the weight whose context came last, by what all that is known of it predicts. Returns
    // the gradient, which is positive if it is negative.
    template <class Coder>
    TERNZIP_INLINE std::int32_t code(Coder& coder, const Context& context, std::int32_t prediction,
                                     bool negative) {
      const std::uint32_t p = squash(signs_.base_ + prediction);
      const std::uint32_t bit = coder.code(p, negative);
      const auto g = static_cast<std::int32_t>((bit << 16) - p);
      signs_.sums_.add(context.negative, g);
      signs_.sums_.add(context.positive, -g);
      nonzero_ |= 1;
      negative_ |= std::uint64_t{bit} << (kShape == Shape::kTree ? context.after : 0);
      ++signs_.since_;
      return g;
    }

   private:
    TERNZIP_INLINE void move_on(std::size_t places) {
      nonzero_ = places < 64 ? nonzero_ << places : 0;
      negative_ = places < 64 ? negative_ << places : 0;
    }

    Signs& signs_;
    Position last_{0, 0};
    std::uint64_t nonzero_ = 0, negative_ = 0;
  };

  // Once in a while the window learns.
  bool due() const noexcept { return since_ == period_; }
  TERNZIP_NOINLINE void learn() noexcept {
    WindowGradients lanes{};
    const std::uint64_t curvature = since_ * curvature_;
    if constexpr (kShape == Shape::kTree) {
      sums_.fold(
          lanes, neighbours_->kernel, group_, [](std::size_t, std::int32_t) {},
          [&](std::size_t k, std::size_t b, std::int32_t sum) { move(pairs_[k][b], sum, pair_precision_); });
      grow(pair_precision_, curvature / group_);
    } else {
      sums_.fold(lanes);
    }
    window_.learn(lanes, curvature);
    since_ = 0;
    period_ = std::min(2 * period_, kLastPeriod);
    tabulate();
  }

 private:
  void tabulate() noexcept {
    if constexpr (kShape == Shape::kTree) {
      sums_.fill(
          window_, neighbours_->kernel, group_, [](std::size_t) { return 0; },
          [&](std::size_t k, std::size_t b) { return pairs_[k][b] >> 4; });
    } else {
      sums_.fill(window_);
    }
  }

  const Neighbours* neighbours_;
  std::size_t group_;
  std::int32_t base_;
  std::uint32_t curvature_;
  Window window_;
  WindowSums<kShape> sums_;
  std::int32_t pairs_[kTreeKernel][kTreeKernel] = {};
  std::uint32_t pair_precision_ = kPairPrior;
  std::uint64_t period_ = kFirstPeriod, since_ = 0;
};

}  // namespace ternzip::context
