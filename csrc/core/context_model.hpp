// The adaptive model of the context codec: an online logistic regression over the tensor's own geometry.
//
// Every weight is a flag (is it nonzero?) and, if it is, a sign. The logit of either is a sum of
// coefficients that are learned while coding, each by a Newton-like step: gradient over precision, where the
// precision starts at the inverse variance of the coefficient's prior and grows with the curvature seen.
//   flag = base + row + column + position + window . flags of the earlier neighbours
//   sign = base + window . trits of the earlier neighbours
//               + gain * (row weights . trits of the rows before, at the same place)
//               + gain * (column weights . trits of the columns before, at the same place)
// Weights are coded in groups, first all flags of a group, then its signs; coefficients move after a group,
// so that nothing inside it waits for them. Encoder and decoder run this same class.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <type_traits>
#include <vector>

#include "core/binary_rans.hpp"
#include "core/context.hpp"
#include "core/context_tables.hpp"

namespace ternzip::context {

// What a payload's first byte says about how the rest was coded.
struct Options {
  bool dead = false;          // rows and columns without a nonzero are listed first
  bool kernel_flags = false;  // a flag for each kernel says whether it holds a nonzero
  bool similarity = false;    // signs are predicted from the rows and columns before
};

inline constexpr std::uint32_t kPrecisionLimit = 1U << 30;

inline void grow(std::uint32_t& precision, std::uint64_t curvature) noexcept {
  precision = static_cast<std::uint32_t>(std::min<std::uint64_t>(precision + curvature, kPrecisionLimit));
}

// A coefficient (Q16) with a precision of its own (Q16).
struct Scalar {
  std::int32_t mean = 0;
  std::uint32_t precision = 0;
  void step(std::int64_t gradient, std::uint64_t curvature) noexcept {
    grow(precision, curvature);
    const std::int64_t moved = mean + ((gradient * reciprocal(precision)) >> 16);
    mean = static_cast<std::int32_t>(std::clamp<std::int64_t>(moved, -(1 << 24), 1 << 24));
  }
};

// The learned factor of a prediction y (Q12): how far the similar rows or columns can be trusted.
struct Gain {
  Scalar factor{kProbOne, 4U << 16};
  std::int32_t apply(std::int32_t y) const noexcept {
    return static_cast<std::int32_t>((std::int64_t{factor.mean} * y) >> 16);
  }
  void step(std::int32_t gradient, std::int32_t y) noexcept {
    const auto square = static_cast<std::uint64_t>(std::int64_t{y} * y) >> 10;  // a quarter of y^2, Q16
    factor.step((std::int64_t{gradient} * y) >> 12, square);
  }
};

inline std::int32_t dot(const std::int16_t* weights, const std::int16_t* lanes, std::size_t count) noexcept {
  std::int32_t sum = 0;
  for (std::size_t j = 0; j < count; ++j) sum += std::int32_t{weights[j]} * lanes[j];
  return sum;
}
inline void adapt(std::int16_t* weights, const std::int16_t* lanes, std::int16_t step,
                  std::size_t count) noexcept {
  for (std::size_t j = 0; j < count; ++j) {
    weights[j] = static_cast<std::int16_t>(weights[j] + lanes[j] * step);
  }
}

// gradient / precision, Q12.
inline std::int16_t vector_step(std::int32_t gradient, std::uint32_t precision) noexcept {
  return static_cast<std::int16_t>((std::int64_t{gradient} * reciprocal(precision) + (1 << 19)) >> 20);
}

// The window of earlier neighbours: 1 and 2 back, then the row above from x + 2 to x - 2 (seven "near"
// lanes), then the row above that (five "far" lanes).
inline constexpr std::size_t kNear = 7, kFar = 5, kWindow = kNear + kFar;
inline constexpr std::size_t kWindowLanes = 16;  // padded to whole vectors
inline constexpr std::size_t kLineGroup = 16;    // weights in a group when the kernel is a single weight

constexpr std::uint32_t precision(double standard_deviation) {
  return static_cast<std::uint32_t>(65536 / (standard_deviation * standard_deviation));
}

template <class Coder, std::size_t kLanes>
class Model {
  static constexpr bool kEncodes = std::is_same_v<Coder, BinaryRansEncoder>;

 public:
  using Trit = std::conditional_t<kEncodes, const std::int8_t, std::int8_t>;

  // The decoder's `trits` are all zero to begin with.
  Model(Coder& coder, const Geometry& geometry, const Counts& counts, const Options& options, Trit* trits)
      : coder_(&coder), geometry_(geometry), options_(options), trits_(trits) {
    const std::uint64_t nonzero = counts.negative + counts.positive;
    flag_base_ = log_ratio(2 * nonzero + 1, 2 * counts.zero + 1);
    sign_base_ = log_ratio(2 * counts.negative + 1, 2 * counts.positive + 1);
    density_ = squash(flag_base_);
    all_nonzero_ = counts.zero == 0;
    one_sign_ = counts.negative == 0 || counts.positive == 0;
    the_sign_ = counts.positive == 0 ? -1 : 1;
    const std::size_t cols = geometry.cols, kernel = geometry.kernel;
    line_ = kernel == 1;
    group_ = line_ ? kLineGroup : kernel;
    columns_.assign(cols, Scalar{0, kColumnPrior});
    positions_.assign(group_, 0);
    chosen_.resize(group_);
    position_table_.assign(group_, 0);
    position_gradient_.assign(group_, 0);
    for (std::size_t j = 0; j < std::size(refine_); ++j)
      refine_[j] = std::uint32_t{kSquash[j * 32 + 16]} << 16;
    set_plane();
    if (!line_) {
      flag_window_[0] = flag_window_[4] = kFlagNear * 16;
      sign_window_[0] = sign_window_[4] = kSignNear;
      for (std::size_t k = 0; k < kernel; ++k) {
        const int near = (valid_near_[k] & 1) + ((valid_near_[k] >> 4) & 1);
        positions_[k] = -static_cast<std::int32_t>((std::int64_t{near} * kFlagNear * 16 * density_) >> 16);
      }
    }
    if (options.similarity) {
      stride_ = cols + kLanes;
      before_.assign(kernel * stride_, 0);
      column_weights_.assign(cols * kLanes, 0);
      column_precision_.assign(cols, kSimilarPrior);
      history_.assign(cols * kernel * kLanes, 0);
    }
    tabulate();
  }

  // Moves to the next group; false at the end.
  bool next() {
    if (started_) column_ += line_ ? size_ : 1;
    if (!started_ || column_ >= geometry_.cols) {
      if (started_) ++row_;
      started_ = true;
      if (row_ >= geometry_.rows) return false;
      begin_row();
    }
    cursor_ = trits_ + (row_ * geometry_.cols + column_) * geometry_.kernel;
    size_ = line_ ? std::min(kLineGroup, geometry_.cols - column_) : geometry_.kernel;
    if (line_) {
      look_above();
    } else {
      flag_history_ = nonzero_ = negative_ = 0;
    }
    return true;
  }

  // The part of the state that the flag loop keeps in registers.
  template <bool kLine>
  struct Flight {
    Model& model;
    Coder coder;
    std::int32_t start, gradient = 0;
    std::uint32_t curvature = 0;
    std::uint64_t history;
    std::size_t count = 0;
    explicit Flight(Model& m)
        : model(m),
          coder(std::move(*m.coder_)),
          start(m.flag_base_ + (m.bias_.mean >> 4)),
          history(m.flag_history_) {
      if (!kLine) start += m.columns_[m.column_].mean >> 4;
    }
    void land() {
      *model.coder_ = std::move(coder);
      model.flag_history_ = history;
      model.count_ = count;
      model.gradient_ = gradient;
      model.curvature_ = curvature;
    }
    void flag(std::size_t k) {
      Model& m = model;
      std::uint32_t near = static_cast<std::uint32_t>(history >> 1) & 3, far = 0;
      if constexpr (kLine) {
        const std::uint32_t above = m.above_[k];
        near |= above & 127;
        far = above >> kNear;
      } else {
        near |= (static_cast<std::uint32_t>(history >> m.near_shift_) & 31) << 2;
        near &= m.valid_near_[k];
        far = static_cast<std::uint32_t>(history >> m.far_shift_) & m.valid_far_[k];
      }
      std::int32_t logit = start + m.near_table_[near] + m.far_table_[far];
      if constexpr (kLine)
        logit += m.columns_[m.column_ + k].mean >> 4;
      else
        logit += m.position_table_[k];
      logit = std::clamp(logit, -kSquashLimit, kSquashLimit - 1) + kSquashLimit;
      const std::uint32_t guess = kSquash[static_cast<std::uint32_t>(logit) >> kSquashShift];
      std::uint32_t& refined = m.refine_[static_cast<std::uint32_t>(logit) >> kRefineShift];
      const std::uint32_t p = (guess + (refined >> 16) + 1) >> 1;
      bool bit = false;
      if constexpr (kEncodes) bit = m.cursor_[k] != 0;
      bit = coder.code(p, bit);
      refined += ((0U - static_cast<std::uint32_t>(bit)) >> kRefineRate) - (refined >> kRefineRate);
      const std::int32_t g = (static_cast<std::int32_t>(bit) << 16) - static_cast<std::int32_t>(guess);
      const std::uint32_t h = (guess * (kProbOne - guess)) >> 16;
      gradient += g;
      curvature += h;
      m.near_gradient_[near] += g;
      m.far_gradient_[far] += g;
      if constexpr (kLine) {
        m.columns_[m.column_ + k].step(g, h);
      } else {
        m.position_gradient_[k] += g;
      }
      history = (history | static_cast<std::uint64_t>(bit)) << 1;
      m.chosen_[count] = static_cast<std::uint32_t>(k);
      count += bit;
    }
  };

  std::size_t size() const noexcept { return size_; }
  bool line() const noexcept { return line_; }

  void learn_flags() {
    bias_.step(gradient_, curvature_);
    if (!line_) columns_[column_].step(gradient_, curvature_);
    flags_since_ += size_;
    curvature_since_ += curvature_;
    if (flags_since_ >= kPeriod) learn_window();
  }

  void learn_window() {
    const std::uint32_t curvature =
        static_cast<std::uint32_t>((std::uint64_t{curvature_since_} * density_) >> 16);
    grow(window_precision_, curvature);
    const std::int32_t rate = reciprocal(window_precision_);
    fold(near_gradient_, flag_window_, kNear, rate);
    fold(far_gradient_, flag_window_ + kNear, kFar, rate);
    if (!line_) {
      grow(position_precision_, curvature_since_ / group_);
      const std::int32_t position_rate = reciprocal(position_precision_);
      for (std::size_t k = 0; k < group_; ++k) {
        positions_[k] +=
            static_cast<std::int32_t>((std::int64_t{position_gradient_[k]} * position_rate) >> 16);
        position_gradient_[k] = 0;
      }
    }
    flags_since_ = 0;
    curvature_since_ = 0;
    tabulate();
  }

  // Coefficient j moves by the gradients of all patterns that hold bit j.
  static void fold(std::int32_t* gradients, std::int32_t* coefficients, std::size_t bits, std::int32_t rate) {
    for (std::size_t b = bits; b-- > 0;) {
      const std::size_t half = std::size_t{1} << b;
      std::int32_t sum = 0;
      for (std::size_t m = 0; m < half; ++m) {
        sum += gradients[half + m];
        gradients[m] += gradients[half + m];
        gradients[half + m] = 0;
      }
      coefficients[b] += static_cast<std::int32_t>((std::int64_t{sum} * rate) >> 16);
    }
    gradients[0] = 0;
  }

  // What the counts already say needs no bits.
  void all_flags() {
    for (std::size_t k = 0; k < size_; ++k) chosen_[k] = static_cast<std::uint32_t>(k);
    count_ = size_;
    flag_history_ = ~std::uint64_t{0};
  }
  void same_signs() {
    if constexpr (!kEncodes) {
      for (std::size_t n = 0; n < count_; ++n) cursor_[chosen_[n]] = the_sign_;
    }
  }
  bool all_nonzero() const noexcept { return all_nonzero_; }
  bool one_sign() const noexcept { return one_sign_; }

  void signs() {
    std::size_t last = 0;
    for (std::size_t n = 0; n < count_; ++n) {
      const std::size_t k = chosen_[n];
      const std::size_t column = line_ ? column_ + k : column_;
      shift_signs(k - last);
      last = k;
      alignas(16) std::int16_t lanes[kWindowLanes];
      sign_lanes(k, lanes);
      std::int32_t logit = sign_base_ + dot(sign_window_, lanes, kWindowLanes);
      std::int32_t by_row = 0, by_column = 0;
      std::int16_t *before = nullptr, *column_weights = nullptr, *history = nullptr;
      if (options_.similarity) {
        before = before_.data() + (line_ ? 0 : k) * stride_ + column;
        column_weights = column_weights_.data() + column * kLanes;
        history = history_.data() + (column_ * geometry_.kernel + k) * kLanes;
        by_column = dot(column_weights, before, kLanes);
        by_row = dot(row_weights_, history, kLanes);
        logit += column_gain_.apply(by_column) + row_gain_.apply(by_row);
      }
      const std::uint32_t p = squash(logit);
      bool bit = false;
      if constexpr (kEncodes) bit = cursor_[k] < 0;
      bit = coder_->code(p, bit);
      const std::int32_t gradient = (static_cast<std::int32_t>(bit) << 16) - static_cast<std::int32_t>(p);
      adapt(sign_window_, lanes, vector_step(gradient, sign_window_precision_), kWindowLanes);
      grow(sign_window_precision_, density_ / 4);
      if (options_.similarity) {
        column_gain_.step(gradient, by_column);
        row_gain_.step(gradient, by_row);
        adapt(column_weights, before, vector_step(gradient, column_precision_[column]), kLanes);
        adapt(row_weights_, history, vector_step(gradient, row_precision_), kLanes);
        grow(column_precision_[column], density_ / 4);
        grow(row_precision_, density_ / 4);
        if (line_) before[kLanes] = static_cast<std::int16_t>(bit ? 1 : -1);
      }
      nonzero_ |= 1;
      negative_ |= bit;
      if constexpr (!kEncodes) cursor_[k] = static_cast<std::int8_t>(bit ? -1 : 1);
    }
    if (line_) shift_signs(size_ - last);
  }

  void end_group() {
    if (line_) {
      for (std::size_t k = 0; k < size_; ++k) {
        lines_[0][column_ + 2 + k] = static_cast<std::uint8_t>(cursor_[k] < 0 ? 3 : cursor_[k]);
      }
    }
    if (options_.similarity) {
      const std::size_t slot = row_ % kLanes;
      const std::size_t at = column_ * geometry_.kernel;
      for (std::size_t k = 0; k < size_; ++k) {
        const auto value = static_cast<std::int16_t>(-cursor_[k]);
        before_[line_ ? kLanes + column_ + k : k * stride_ + kLanes + column_] = value;
        history_[(at + k) * kLanes + slot] = value;
      }
    }
  }

 private:
  static constexpr std::size_t kPeriod = 256;
  static constexpr std::uint32_t kRowPrior = precision(0.6), kColumnPrior = precision(0.7),
                                 kPositionPrior = precision(0.2), kWindowPrior = precision(0.3),
                                 kSignWindowPrior = precision(0.4), kSimilarPrior = precision(0.22);
  static constexpr std::int16_t kFlagNear = 1229, kSignNear = 4915;

  void set_plane() {
    const std::size_t kernel = geometry_.kernel;
    std::size_t width = 0;  // of the kernel's plane; 0: one row
    for (std::size_t w = 2; w <= 31; ++w) {
      if (w * w * w == kernel) width = w;
    }
    for (std::size_t w = 2; w <= 31; ++w) {
      if (w * w == kernel) width = w;
    }
    near_shift_ = width ? static_cast<unsigned>(width - 2) : 0;
    far_shift_ = width ? static_cast<unsigned>(2 * width - 2) : 0;
    valid_near_.assign(group_, 3);
    valid_far_.assign(group_, 0);
    above_.assign(group_, 0);
    above_negative_.assign(group_, 0);
    if (line_) {
      for (auto& row : lines_) row.assign(geometry_.cols + 4, 0);
    }
    for (std::size_t k = 0; k < kernel && !line_; ++k) {
      const std::size_t x = width ? k % width : k, y = width ? k / width : 0;
      unsigned row = 0;  // which of the columns x + 2 ... x - 2 exist
      for (std::size_t j = 0; j < 5; ++j) row |= (x + 2 - j < width ? 1U : 0U) << j;
      valid_near_[k] =
          static_cast<std::uint8_t>((x >= 1 ? 1U : 0U) | (x >= 2 ? 2U : 0U) | (y >= 1 ? row << 2 : 0));
      valid_far_[k] = static_cast<std::uint8_t>(y >= 2 ? row : 0);
    }
  }

  void begin_row() {
    bias_ = Scalar{0, kRowPrior};
    column_ = 0;
    if (line_) {
      flag_history_ = nonzero_ = negative_ = 0;
      if (row_ > 0) {
        std::swap(lines_[1], lines_[2]);
        std::swap(lines_[0], lines_[1]);
      }
    }
    if (options_.similarity) {
      std::fill(std::begin(row_weights_), std::end(row_weights_), std::int16_t{0});
      row_precision_ = kSimilarPrior;
    }
  }

  // Line mode: the two rows above, as seen from every weight of the group.
  void look_above() {
    for (std::size_t k = 0; k < size_; ++k) {
      unsigned nonzero = 0, negative = 0;
      for (std::size_t up = 1; up <= 2; ++up) {
        const std::uint8_t* codes = lines_[up].data() + column_ + k;  // of columns x - 2 ... x + 2
        for (std::size_t j = 0; j < 5; ++j) {
          nonzero |= static_cast<unsigned>(codes[4 - j] & 1) << (5 * up - 3 + j);
          negative |= static_cast<unsigned>(codes[4 - j] >> 1) << (5 * up - 3 + j);
        }
      }
      above_[k] = static_cast<std::uint16_t>(nonzero);
      above_negative_[k] = static_cast<std::uint16_t>(negative);
    }
  }

  // Window sums for every pattern of flags, so that a flag costs two look-ups.
  void tabulate() {
    tabulate(near_table_, flag_window_, kNear);
    tabulate(far_table_, flag_window_ + kNear, kFar);
    for (std::size_t k = 0; k < group_; ++k) position_table_[k] = positions_[k] >> 4;
  }
  static void tabulate(std::int16_t* table, const std::int32_t* coefficients, std::size_t bits) {
    table[0] = 0;
    for (std::size_t b = 0; b < bits; ++b) {
      const auto c = static_cast<std::int16_t>(coefficients[b] >> 4);
      for (std::size_t m = 0; m < std::size_t{1} << b; ++m) {
        table[m + (std::size_t{1} << b)] = static_cast<std::int16_t>(table[m] + c);
      }
    }
  }

  void shift_signs(std::size_t gap) {
    nonzero_ = gap < 64 ? nonzero_ << gap : 0;
    negative_ = gap < 64 ? negative_ << gap : 0;
  }
  unsigned window(std::uint64_t history, std::size_t k) const {
    const unsigned near = ((static_cast<unsigned>(history >> 1) & 3) |
                           ((static_cast<unsigned>(history >> near_shift_) & 31) << 2)) &
                          valid_near_[k];
    return near | ((static_cast<unsigned>(history >> far_shift_) & valid_far_[k]) << kNear);
  }
  void sign_lanes(std::size_t k, std::int16_t* lanes) const {
    const unsigned minus = window(negative_, k) | above_negative_[k],
                   plus = (window(nonzero_, k) | above_[k]) & ~minus;
    for (std::size_t j = 0; j < 8; ++j) {
      lanes[j] = static_cast<std::int16_t>(kExpand[minus & 255].lane[j] - kExpand[plus & 255].lane[j]);
    }
    for (std::size_t j = 0; j < 8; ++j) {
      lanes[8 + j] = static_cast<std::int16_t>(kExpand[minus >> 8].lane[j] - kExpand[plus >> 8].lane[j]);
    }
  }

  Coder* coder_;
  Geometry geometry_;
  Options options_;
  Trit* trits_;
  Trit* cursor_ = nullptr;
  bool line_ = false, started_ = false, all_nonzero_ = false, one_sign_ = false;
  std::int8_t the_sign_ = 1;
  std::int32_t flag_base_ = 0, sign_base_ = 0;
  std::uint32_t density_ = 0;
  std::size_t group_ = 0, size_ = 0, row_ = 0, column_ = 0, count_ = 0, stride_ = 0;
  unsigned near_shift_ = 0, far_shift_ = 0;
  std::uint64_t flag_history_ = 0, nonzero_ = 0, negative_ = 0;
  std::vector<std::uint8_t> valid_near_, valid_far_, lines_[3];
  std::vector<std::uint16_t> above_, above_negative_;
  std::vector<Scalar> columns_;
  std::vector<std::int32_t> positions_;  // Q16
  std::vector<std::uint32_t> chosen_;
  std::vector<std::int32_t> position_table_, position_gradient_;
  std::int32_t near_gradient_[1 << kNear] = {}, far_gradient_[1 << kFar] = {};
  std::int32_t gradient_ = 0;
  std::uint32_t curvature_ = 0, curvature_since_ = 0;
  std::size_t flags_since_ = 0;
  static constexpr int kRefineShift = kLogitBits - 3;
  static constexpr int kRefineRate = 6;
  std::uint32_t refine_[2 * 12 * 8] = {};
  Scalar bias_;
  std::uint32_t position_precision_ = kPositionPrior, window_precision_ = kWindowPrior,
                sign_window_precision_ = kSignWindowPrior;
  std::int32_t flag_window_[kWindow] = {};  // Q16
  alignas(16) std::int16_t near_table_[1 << kNear] = {};
  alignas(16) std::int16_t far_table_[1 << kFar] = {};
  alignas(16) std::int16_t sign_window_[kWindowLanes] = {};
  std::vector<std::int16_t> before_, column_weights_, history_;
  std::vector<std::uint32_t> column_precision_;
  alignas(16) std::int16_t row_weights_[kLanes] = {};
  std::uint32_t row_precision_ = 0;
  Gain row_gain_, column_gain_;
};

template <bool kLine, class M>
void group(M& a) {
  typename M::template Flight<kLine> f(a);
  const std::size_t size = a.size();
  for (std::size_t k = 0; k < size; ++k) f.flag(k);
  f.land();
}

template <class M>
void run(M& a) {
  while (a.next()) {
    if (a.all_nonzero()) {
      a.all_flags();
    } else {
      if (a.line())
        group<true>(a);
      else
        group<false>(a);
      a.learn_flags();
    }
    if (a.one_sign())
      a.same_signs();
    else
      a.signs();
    a.end_group();
  }
}

}  // namespace ternzip::context
