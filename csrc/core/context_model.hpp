// The adaptive model of the context codec: an online logistic regression over the tensor's own geometry.
//
// Every weight is a flag (is it nonzero?) and, if it is, a sign (is it negative?):
//   flag = base + row + column + position + window of the flags before (+ magnitude)
//   sign = base + window of the trits before + gain * similar rows + gain * similar columns
// Weights are coded in groups: a kernel, or 16 neighbours in a row of a matrix. First come all flags of a
// group, then its signs (at the highest effort each sign follows its flag, so that the sign's prediction can
// serve as the flag's magnitude). Coefficients stand still inside a group, so that nothing waits for them.
// Encoder and decoder run this same class.
#pragma once

#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <optional>
#include <type_traits>
#include <utility>
#include <vector>

#include "core/binary_rans.hpp"
#include "core/context.hpp"
#include "core/context_recipe.hpp"
#include "core/context_similarity.hpp"
#include "core/context_window.hpp"

namespace ternzip::context {

// The loops over a group only keep the coder in registers if these are inlined, which compilers leave undone.
#if defined(__GNUC__)
#define TERNZIP_INLINE __attribute__((always_inline)) inline
#else
#define TERNZIP_INLINE inline
#endif

inline constexpr std::size_t kLineGroup = 16;

// How a weight's earlier neighbours are looked up. A kernel of up to nine weights has one pattern of flags
// for every place and history (a binary tree); a larger one a near and a far pattern; a matrix is a plane
// itself.
enum class Shape { kTree, kPlane, kLine };
inline constexpr std::size_t kTreeKernel = 9;
inline Shape shape_of(std::size_t kernel) noexcept {
  return kernel == 1 ? Shape::kLine : kernel <= kTreeKernel ? Shape::kTree : Shape::kPlane;
}

// kLanes rows and columns before are searched for similarity; kMagnitude: the highest effort.
template <class Coder, std::size_t kLanes, bool kMagnitude>
class Model {
  static constexpr bool kEncodes = std::is_same_v<Coder, BinaryRansEncoder>;

 private:
  struct Sign {
    std::uint32_t place = 0;
    std::uint32_t minus = 0, minus_far = 0, plus = 0, plus_far = 0;  // patterns of the window
    Similar similar;
    std::int32_t gradient = 0;
  };

  static constexpr std::int32_t kMagnitudes = 8, kMagnitudeShift = kLogitBits - 1;  // of half a nat

 public:
  bool interleaves() const noexcept { return kMagnitude && !all_nonzero_ && !one_sign_; }
  using Trit = std::conditional_t<kEncodes, const std::int8_t, std::int8_t>;

  // The decoder's `trits` are all zero to begin with.
  Model(Coder& coder, const Geometry& geometry, const Counts& counts, const Priors& priors, bool similarity,
        Trit* trits)
      : coder_(&coder),
        geometry_(geometry),
        trits_(trits),
        shape_(shape_of(geometry.kernel)),
        line_(shape_ == Shape::kLine),
        all_nonzero_(counts.zero == 0),
        one_sign_(counts.negative == 0 || counts.positive == 0),
        flag_base_(log_ratio(2 * (counts.negative + counts.positive) + 1, 2 * counts.zero + 1)),
        sign_base_(log_ratio(2 * counts.negative + 1, 2 * counts.positive + 1)),
        density_(squash(flag_base_)),
        group_(line_ ? kLineGroup : geometry.kernel),
        row_prior_(priors.row),
        columns_(geometry.cols, Scalar{0, priors.column}),
        positions_(group_, 0),
        position_gradients_(group_, 0),
        valid_near_(group_, 3),
        valid_far_(group_, 0),
        above_(group_, 0),
        above_negative_(group_, 0),
        signs_(group_),
        flag_window_(kFlagWindowPrior, line_ ? 0 : kFlagNeighbour),
        sign_window_(priors.sign_window, line_ ? 0 : kSignNeighbour) {
    if (line_) {
      for (auto& row : rows_above_) row.assign(geometry.cols + 4, 0);
    } else {
      lay_out_kernel();
    }
    std::fill(std::begin(magnitudes_), std::end(magnitudes_), Scalar{0, kMagnitudePrior});
    if (shape_ == Shape::kTree) {
      for (std::size_t k = 0; k < group_; ++k) {
        for (std::size_t b = 0; b < k; ++b) tree_lanes_[k][b] = static_cast<std::uint8_t>(lane(k, k - 1 - b));
      }
    }
    tabulate();
    if (similarity) similarity_.emplace(geometry, priors.similar, density_ / 8);
  }

  Shape shape() const noexcept { return shape_; }

  // Moves to the next group; false at the end.
  bool next() {
    column_ += line_ ? size_ : std::size_t{size_ != 0};
    if (size_ == 0 || column_ >= geometry_.cols) {
      row_ += size_ != 0;
      if (row_ >= geometry_.rows) return false;
      begin_row();
    }
    cursor_ = trits_ + (row_ * geometry_.cols + column_) * geometry_.kernel;
    size_ = line_ ? std::min(kLineGroup, geometry_.cols - column_) : geometry_.kernel;
    if (line_) look_above();
    return true;
  }

  // What a group's loops keep in registers: the coder and the neighbours.
  // In a tree `flags` is 1 followed by the flags so far, and `negative` has its first place at the top bit of
  // the kernel; else bit d of a history is the weight d places back.
  template <Shape kShape>
  struct Flight {
    Model& m;
    Coder coder;
    std::uint64_t flags, nonzero, negative;
    std::size_t last = 0, count = 0;
    std::int32_t start, rate, gradient = 0;
    std::uint32_t curvature = 0;

    TERNZIP_INLINE explicit Flight(Model& model) : m(model), coder(std::move(*model.coder_)) {
      flags = kShape == Shape::kLine ? m.flags_ : kShape == Shape::kTree ? 1 : 0;
      nonzero = kShape == Shape::kLine ? m.nonzero_ : 0;
      negative = kShape == Shape::kLine ? m.negative_ : 0;
      start = m.flag_base_ + (m.bias_.mean >> 4);
      rate = reciprocal(m.bias_.precision);
      if constexpr (kShape != Shape::kLine) {
        start += m.columns_[m.column_].mean >> 4;
        rate += kKernelRate + reciprocal(m.columns_[m.column_].precision);
      }
    }

    TERNZIP_INLINE void land() {
      *m.coder_ = std::move(coder);
      if constexpr (kShape == Shape::kLine) {
        m.flags_ = flags;
        m.nonzero_ = shifted(nonzero, m.size_ - last);
        m.negative_ = shifted(negative, m.size_ - last);
      }
      m.count_ = count;
      m.gradient_ = gradient;
      m.curvature_ = curvature;
    }

    static std::uint64_t shifted(std::uint64_t history, std::size_t gap) noexcept {
      return gap < 64 ? history << gap : 0;
    }

    TERNZIP_INLINE std::uint32_t near(std::uint64_t history, const std::uint16_t* above,
                                      std::size_t k) const {
      const std::uint32_t back = static_cast<std::uint32_t>(history >> 1) & 3;
      if constexpr (kShape == Shape::kLine) return back | (above[k] & 127);
      return (back | (static_cast<std::uint32_t>(history >> m.near_shift_) & 31) << 2) & m.valid_near_[k];
    }
    TERNZIP_INLINE std::uint32_t far(std::uint64_t history, const std::uint16_t* above, std::size_t k) const {
      if constexpr (kShape == Shape::kLine) return above[k] >> 7;
      return static_cast<std::uint32_t>(history >> m.far_shift_) & m.valid_far_[k];
    }

    // What the counts already say needs no bits.
    void all_flags() {
      for (; count < m.size_; ++count) m.signs_[count].place = static_cast<std::uint32_t>(count);
      if constexpr (kShape == Shape::kTree) flags = (std::uint64_t{2} << m.size_) - 1;
    }
    void same_signs() {
      if constexpr (!kEncodes) {
        for (std::size_t n = 0; n < count; ++n) {
          m.cursor_[m.signs_[n].place] = static_cast<std::int8_t>(m.sign_base_ > 0 ? -1 : 1);
        }
      }
    }

    // Codes a flag, given the bin of its magnitude in interleaved order. Returns the gradient, which is
    // positive for a one.
    template <bool kInterleaved = false>
    TERNZIP_INLINE std::int32_t flag(std::size_t k, std::size_t magnitude = 0) {
      std::int32_t logit = start;
      if constexpr (kInterleaved) logit += m.magnitudes_[magnitude].mean >> 4;
      std::uint32_t n = 0, f = 0;
      if constexpr (kShape == Shape::kTree) {
        logit += m.flag_tree_.sum(flags);
      } else {
        n = near(flags, m.above_.data(), k);
        f = far(flags, m.above_.data(), k);
        logit += m.flag_near_.sum(n) + m.flag_far_.sum(f);
        logit += (kShape == Shape::kLine ? m.columns_[m.column_ + k].mean : m.positions_[k]) >> 4;
      }
      logit = std::min(std::max(logit, -kSquashLimit), kSquashLimit - 1) + kSquashLimit;
      const auto index = static_cast<std::uint32_t>(logit);
      const std::uint32_t guess = kSquash[index >> kSquashShift];
      std::uint32_t& refined = m.refinement_.rate(index);
      std::uint32_t p = Refinement::average(guess, refined);
      std::uint32_t& refined_too = m.magnitude_refinements_[magnitude].rate(index);
      if constexpr (kInterleaved) p = Refinement::average(p, refined_too);
      const bool bit = coder.code(p, kEncodes && m.cursor_[k] != 0);
      Refinement::learn(refined, bit);
      const std::int32_t g = (static_cast<std::int32_t>(bit) << 16) - static_cast<std::int32_t>(guess);
      const std::uint32_t h = (guess * (kProbOne - guess)) >> 16;
      if constexpr (kInterleaved) {
        Refinement::learn(refined_too, bit);
        m.magnitudes_[magnitude].step(g, h);
      }
      gradient += g;
      curvature += h;
      start += static_cast<std::int32_t>((std::int64_t{g} * rate) >> 20);
      if constexpr (kShape == Shape::kTree) {
        m.flag_tree_.add(flags, g);
        flags = 2 * flags + bit;
      } else {
        m.flag_near_.add(n, g);
        m.flag_far_.add(f, g);
        if constexpr (kShape == Shape::kLine) {
          m.columns_[m.column_ + k].step(g, h);
        } else {
          m.position_gradients_[k] += g;
        }
        flags = (flags | static_cast<std::uint64_t>(bit)) << 1;
        m.signs_[count].place = static_cast<std::uint32_t>(k);
        count += bit;
      }
      return g;
    }

    // After the flags of a group: where its nonzeros are.
    TERNZIP_INLINE void find() {
      if constexpr (kShape == Shape::kTree) {
        std::uint64_t rest = flags ^ (std::uint64_t{1} << m.size_);
        while (rest != 0) {
          const auto top = static_cast<unsigned>(std::bit_width(rest)) - 1;
          rest ^= std::uint64_t{1} << top;
          m.signs_[count++].place = static_cast<std::uint32_t>(m.size_ - 1 - top);
        }
      }
    }

    // The window's part of the sign's logit at a place after all signs coded so far.
    TERNZIP_INLINE std::int32_t look(Sign& sign, std::uint64_t node = 0) {
      const std::size_t k = sign.place;
      if constexpr (kShape == Shape::kTree) {
        const auto later = static_cast<unsigned>(m.size_ - k);
        const auto minus = static_cast<std::uint32_t>(negative >> later);
        sign.minus = minus | (1U << k);
        sign.plus = static_cast<std::uint32_t>(node != 0 ? node : flags >> later) ^ minus;
        return m.sign_tree_.sum(sign.minus) - m.sign_tree_.sum(sign.plus);
      } else {
        nonzero = shifted(nonzero, k - last);
        negative = shifted(negative, k - last);
        last = k;
        const std::uint32_t n = near(nonzero, m.above_.data(), k), f = far(nonzero, m.above_.data(), k);
        sign.minus = near(negative, m.above_negative_.data(), k);
        sign.minus_far = far(negative, m.above_negative_.data(), k);
        sign.plus = n ^ sign.minus;
        sign.plus_far = f ^ sign.minus_far;
        return m.sign_near_.sum(sign.minus) - m.sign_near_.sum(sign.plus) + m.sign_far_.sum(sign.minus_far) -
               m.sign_far_.sum(sign.plus_far);
      }
    }

    TERNZIP_INLINE void sign(std::size_t n) {
      Sign& sign = m.signs_[n];
      code_sign(sign, sign.similar.sum + look(sign));
    }

    // Interleaved order: what is known of a weight's sign also tells whether it is zero.
    TERNZIP_INLINE void weight(std::size_t k) {
      Sign& sign = m.signs_[count];
      sign.place = static_cast<std::uint32_t>(k);
      if (m.similarity_) sign.similar = m.similarity_->predict(m.column_, k);
      const std::int32_t prediction = sign.similar.sum + look(sign, flags);
      const auto bin =
          static_cast<std::size_t>(std::min(std::abs(prediction) >> kMagnitudeShift, kMagnitudes - 1));
      if (flag<true>(k, bin) <= 0) return;
      if constexpr (kShape == Shape::kTree) ++count;
      code_sign(sign, prediction);
      if (m.similarity_) m.similarity_->learn(m.column_, &sign, 1);
    }

    TERNZIP_INLINE void code_sign(Sign& sign, std::int32_t prediction) {
      const std::uint32_t p = squash(m.sign_base_ + prediction);
      const bool bit = coder.code(p, kEncodes && m.cursor_[sign.place] < 0);
      const std::int32_t g = (static_cast<std::int32_t>(bit) << 16) - static_cast<std::int32_t>(p);
      sign.gradient = g;
      if constexpr (kShape == Shape::kTree) {
        m.sign_tree_.add(sign.minus, g);
        m.sign_tree_.add(sign.plus, -g);
        negative |= static_cast<std::uint64_t>(bit) << (m.size_ - 1 - sign.place);
      } else {
        m.sign_near_.add(sign.minus, g);
        m.sign_near_.add(sign.plus, -g);
        m.sign_far_.add(sign.minus_far, g);
        m.sign_far_.add(sign.plus_far, -g);
        nonzero |= 1;
        negative |= bit;
      }
      if constexpr (!kEncodes) m.cursor_[sign.place] = static_cast<std::int8_t>(1 - 2 * bit);
    }
  };

  // What similar rows and columns predict for the signs of a group.
  void compare(std::size_t count) {
    if (!similarity_) return;
    for (Sign* sign = signs_.data(); sign != signs_.data() + count; ++sign) {
      sign->similar = similarity_->predict(column_, sign->place);
    }
  }

  // After a group.
  void learn() {
    learn_flags();
    if (similarity_ && !one_sign_ && !interleaves()) similarity_->learn(column_, signs_.data(), count_);
    signs_since_ += count_;
    remember();
    if (flags_since_ >= period_) learn_windows();
  }

  bool all_nonzero() const noexcept { return all_nonzero_; }
  bool one_sign() const noexcept { return one_sign_; }
  std::size_t size() const noexcept { return size_; }

 private:
  void learn_flags() {
    bias_.step(gradient_, curvature_);
    if (!line_) columns_[column_].step(gradient_, curvature_);
    flags_since_ += size_;
    curvature_since_ += curvature_;
  }

  void remember() {
    if (line_) {
      for (std::size_t k = 0; k < size_; ++k) {
        rows_above_[0][column_ + 2 + k] = static_cast<std::uint8_t>(cursor_[k] < 0 ? 3 : cursor_[k]);
      }
    }
    if (similarity_) similarity_->remember(row_, column_, cursor_, size_);
  }

  // Standard deviations of the priors, in hundredths of a nat.
  static constexpr std::uint32_t kPositionPrior = prior(20), kPairPrior = prior(20),
                                 kFlagWindowPrior = prior(30), kMagnitudePrior = prior(30);
  static constexpr std::int32_t kKernelRate = 4096;                              // Q16
  static constexpr std::int32_t kFlagNeighbour = 19661, kSignNeighbour = 78643;  // 0.3 and 1.2 nats
  static constexpr std::uint64_t kFirstPeriod = kMagnitude ? 64 : 256, kLastPeriod = kMagnitude ? 64 : 1024;

  // Squares and cubes of up to 30 have a plane of that width; any other kernel is one row.
  void lay_out_kernel() {
    const std::size_t kernel = geometry_.kernel;
    std::size_t& width = width_;
    for (std::size_t w = 2; w <= 30; ++w) {
      if (w * w == kernel || (w * w * w == kernel && width == 0)) width = w;
    }
    if (width != 0) {
      near_shift_ = static_cast<unsigned>(width - 2);
      far_shift_ = static_cast<unsigned>(2 * width - 2);
    }
    for (std::size_t k = 0; k < kernel; ++k) {
      const std::size_t x = width ? k % width : k, y = width ? k / width : 0;
      unsigned above = 0;  // which of the columns x + 2 ... x - 2 exist
      for (std::size_t j = 0; j < 5; ++j) above |= (x + 2 - j < width ? 1U : 0U) << j;
      valid_near_[k] =
          static_cast<std::uint8_t>((x >= 1 ? 1U : 0U) | (x >= 2 ? 2U : 0U) | (y >= 1 ? above << 2 : 0));
      valid_far_[k] = static_cast<std::uint8_t>(y >= 2 ? above : 0);
      // so that the window's start leaves the mean rate where it is
      const std::int64_t neighbours = (valid_near_[k] & 1) + (valid_near_[k] >> 4 & 1);
      positions_[k] = -static_cast<std::int32_t>((neighbours * kFlagNeighbour * density_) >> 16);
    }
  }

  void begin_row() {
    column_ = 0;
    bias_ = Scalar{0, row_prior_};
    if (line_) {
      flags_ = nonzero_ = negative_ = 0;
      if (row_ > 0) {
        std::swap(rows_above_[1], rows_above_[2]);
        std::swap(rows_above_[0], rows_above_[1]);
      }
    }
    if (similarity_) similarity_->begin_row();
  }

  // A matrix is its own plane: the two rows above, as seen from every weight of the group.
  void look_above() {
    for (std::size_t k = 0; k < size_; ++k) {
      unsigned nonzero = 0, negative = 0;
      for (std::size_t up = 1; up <= 2; ++up) {
        const std::uint8_t* codes = rows_above_[up].data() + column_ + k;  // of columns x - 2 ... x + 2
        for (std::size_t j = 0; j < 5; ++j) {
          nonzero |= (codes[4 - j] & 1U) << (5 * up - 3 + j);
          negative |= (codes[4 - j] >> 1U) << (5 * up - 3 + j);
        }
      }
      above_[k] = static_cast<std::uint16_t>(nonzero);
      above_negative_[k] = static_cast<std::uint16_t>(negative);
    }
  }

  // The lane of the window in which place k of a kernel sees its earlier place q, or none.
  std::size_t lane(std::size_t k, std::size_t q) const noexcept {
    if (width_ == 0 || k / width_ == q / width_) return k - q <= 2 ? k - q - 1 : kWindowLanes;
    const std::size_t up = k / width_ - q / width_, column = k % width_ + 2 - q % width_;
    return up <= 2 && column < 5 ? 5 * up - 3 + column : kWindowLanes;
  }

  template <class Table>
  void tabulate_tree(Table& tree, const Window& window, bool positions) {
    for (std::size_t k = 0; k < group_; ++k) {
      tree.fill(std::size_t{1} << k, k, positions ? positions_[k] >> 4 : 0, [&](std::size_t b) {
        return window.lane(tree_lanes_[k][b]) + (positions ? 0 : pairs_[k][b] >> 4);
      });
    }
  }
  void tabulate() {
    if (shape_ == Shape::kTree) {
      tabulate_tree(flag_tree_, flag_window_, true);
      tabulate_tree(sign_tree_, sign_window_, false);
    } else {
      flag_near_.fill(0, kNear, 0, [&](std::size_t b) { return flag_window_.lane(b); });
      flag_far_.fill(0, kFar, 0, [&](std::size_t b) { return flag_window_.lane(kNear + b); });
      sign_near_.fill(0, kNear, 0, [&](std::size_t b) { return sign_window_.lane(b); });
      sign_far_.fill(0, kFar, 0, [&](std::size_t b) { return sign_window_.lane(kNear + b); });
    }
  }

  template <class Table>
  void fold_tree(Table& tree, std::int64_t* lanes, bool positions) {
    for (std::size_t k = 0; k < group_; ++k) {
      const std::int32_t all = tree.fold(std::size_t{1} << k, k, [&](std::size_t b, std::int32_t sum) {
        lanes[tree_lanes_[k][b]] += sum;
        if (!positions) move(pairs_[k][b], sum, pair_precision_);
      });
      if (positions) position_gradients_[k] = all;
    }
  }
  void learn_windows() {
    std::int64_t flag_lanes[kWindowLanes + 1] = {},
                                           sign_lanes[kWindowLanes + 1] = {};  // the last: of no lane
    if (shape_ == Shape::kTree) {
      fold_tree(flag_tree_, flag_lanes, true);
      fold_tree(sign_tree_, sign_lanes, false);
    } else {
      flag_near_.fold(0, kNear, [&](std::size_t b, std::int32_t sum) { flag_lanes[b] = sum; });
      flag_far_.fold(0, kFar, [&](std::size_t b, std::int32_t sum) { flag_lanes[kNear + b] = sum; });
      sign_near_.fold(0, kNear, [&](std::size_t b, std::int32_t sum) { sign_lanes[b] = sum; });
      sign_far_.fold(0, kFar, [&](std::size_t b, std::int32_t sum) { sign_lanes[kNear + b] = sum; });
    }
    flag_window_.learn(flag_lanes, (curvature_since_ * density_) >> 16);
    sign_window_.learn(sign_lanes, signs_since_ * (density_ / 8));
    grow(pair_precision_, signs_since_ * (density_ / 8) / group_);
    grow(position_precision_, curvature_since_ / group_);
    for (std::size_t k = 0; k < group_; ++k) {
      move(positions_[k], position_gradients_[k], position_precision_);
      position_gradients_[k] = 0;
    }
    flags_since_ = signs_since_ = curvature_since_ = 0;
    period_ = std::min(2 * period_, kLastPeriod);
    tabulate();
  }

  Coder* coder_;
  Geometry geometry_;
  Trit* trits_;
  Shape shape_;
  bool line_, all_nonzero_, one_sign_;
  std::int32_t flag_base_, sign_base_;
  std::uint32_t density_;  // Q16
  std::size_t group_;
  std::size_t row_ = 0, column_ = 0, size_ = 0, count_ = 0;
  Trit* cursor_ = nullptr;
  std::uint64_t flags_ = 0, nonzero_ = 0, negative_ = 0;
  std::int32_t gradient_ = 0;
  std::uint32_t curvature_ = 0;

  std::uint32_t row_prior_;
  Scalar bias_;
  std::vector<Scalar> columns_;
  std::vector<std::int32_t> positions_, position_gradients_;
  std::uint32_t position_precision_ = kPositionPrior;
  unsigned near_shift_ = 0, far_shift_ = 0;
  std::vector<std::uint8_t> valid_near_, valid_far_;
  std::vector<std::uint16_t> above_, above_negative_;
  std::vector<std::uint8_t> rows_above_[3];
  std::vector<Sign> signs_;
  Window flag_window_, sign_window_;
  PatternTable<kTreeKernel> flag_tree_, sign_tree_;
  PatternTable<kNear> flag_near_, sign_near_;
  PatternTable<kFar> flag_far_, sign_far_;
  std::size_t width_ = 0;
  std::int32_t pairs_[kTreeKernel][kTreeKernel] = {};
  std::uint32_t pair_precision_ = kPairPrior;
  std::uint8_t tree_lanes_[kTreeKernel][kTreeKernel] = {};
  Refinement refinement_, magnitude_refinements_[kMagnitude ? kMagnitudes : 1];
  Scalar magnitudes_[kMagnitudes];
  std::uint64_t period_ = kFirstPeriod;
  std::uint64_t flags_since_ = 0, signs_since_ = 0, curvature_since_ = 0;

  std::optional<Similarity<kLanes>> similarity_;
};

}  // namespace ternzip::context
