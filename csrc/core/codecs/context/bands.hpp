// The banded recipes: for large matrices, whose rows are divided into sixteen bands. The rows of a step, one
// of each band, are coded side by side, column by column, with coders and biases of their own and all else in
// common: what processors do to sixteen numbers at once. A trit is one symbol of three.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

#include "core/codecs/context/band_kernels.hpp"
#include "core/codecs/context/base_rates.hpp"
#include "core/codecs/context/context.hpp"
#include "core/codecs/context/recipe.hpp"
#include "core/codecs/context/window.hpp"

namespace ternzip::context {

// Rows of more weights than this would take more memory than a payload may ask for.
inline constexpr std::size_t kMaxBandRow = std::size_t{1} << 17;

// Whether a chunk can be coded in bands: every band has a row, and all symbols occur in the tensor.
inline bool has_bands(const Geometry& geometry, const TritCounts& counts) {
  const std::size_t row = geometry.cols * geometry.kernel;
  return geometry.rows >= kBands && row >= 1 && row <= kMaxBandRow && counts.negative != 0 &&
         counts.zero != 0 && counts.positive != 0;
}

// The codes after those of Recipe: the width of the priors of rows and columns, and three more if signs are
// predicted.
struct BandRecipe {
  static constexpr std::uint8_t kBegin = Recipe::kEnd, kEnd = kBegin + 6;

  Width width = Width::kUsual;
  bool predicts_signs = true;

  static constexpr bool is_code(std::uint8_t code) noexcept { return code >= kBegin && code < kEnd; }
  static constexpr BandRecipe of_code(std::uint8_t code) noexcept {
    return {static_cast<Width>((code - kBegin) % 3), code - kBegin >= 3};
  }
  constexpr std::uint8_t code() const noexcept {
    return static_cast<std::uint8_t>(kBegin + static_cast<unsigned>(width) + (predicts_signs ? 3 : 0));
  }
  // Of rows and columns alike.
  constexpr std::uint32_t prior() const noexcept { return Recipe{Effort::kQuick, width, width}.priors().row; }
};

// Which row is which. Bands of unequal rows have one more or less; in the last step some have none.
class BandRows {
 public:
  explicit BandRows(std::size_t rows) noexcept : rows_(rows) {}
  std::size_t steps() const noexcept { return (rows_ + kBands - 1) / kBands; }
  bool has(std::size_t band, std::size_t step) const noexcept { return row(band, step) < row(band + 1, 0); }
  std::size_t row(std::size_t band, std::size_t step) const noexcept { return band * rows_ / kBands + step; }

 private:
  std::size_t rows_;
};

class BandModel {
 public:
  BandModel(const Geometry& geometry, const TritCounts& counts, const BandRecipe& recipe)
      : rows_(geometry.rows),
        row_size_(geometry.cols * geometry.kernel),
        base_(BaseRates(counts).flag),
        density_(BaseRates(counts).density()),
        prior_(recipe.prior()),
        columns_(row_size_, Scalar{0, prior_}),
        logits_(row_size_, base_),
        gradients_(row_size_),
        trits_((kBandColumnsBefore + row_size_) * kBands),
        above_(trits_.size()) {
    state_.sign_base = BaseRates(counts).sign;
    state_.kernel = geometry.kernel;
    state_.kernel_rate = geometry.kernel > 1 ? kKernelRate : 0;
    for (std::size_t bin = 0; bin < kBandBins; ++bin) {
      state_.refinement[bin] = std::uint32_t{kSquash[32 * bin + 16]} << 16;
    }
    for (std::size_t i = 0; i < kBandGuesses; ++i) {
      state_.guesses[i] = kSquash[4 * i + 2];
      const auto guess = static_cast<std::uint32_t>(state_.guesses[i]);
      const std::uint32_t rate =
          Refinement::average(guess, state_.refinement[i / 8]) >> (16 - kBandPrecision);
      state_.rates[i] = guess << 16 | std::max<std::uint32_t>(rate, 2);
    }
  }
  BandModel(const BandModel&) = delete;
  BandModel& operator=(const BandModel&) = delete;

  // Codes all steps, tile by tile, for as long as code(state, tile, step, column) returns true; `column` is
  // the tile's first.
  template <class Code>
  bool run(const Code& code) {
    for (std::size_t step = 0; step < rows_.steps(); ++step) {
      begin_step(step);
      for (std::size_t column = 0; column < row_size_; column += kTileColumns) {
        const BandTile tile = tile_at(column);
        if (!code(state_, tile, step, column)) return false;
        end_tile(tile.columns);
      }
      end_step();
    }
    return true;
  }

 private:
  static constexpr std::int32_t kKernelRate = 24000;  // Q16
  static constexpr std::size_t kLearnColumns = 64;    // between two times that the windows learn

  // One coefficient for each neighbour, with one precision in common.
  struct NeighbourWindow {
    std::int32_t means[kBandNeighbours] = {};
    std::uint32_t precision;

    void learn(BandInts* gradients, std::uint64_t curvature, std::int32_t* logits) noexcept {
      grow(precision, curvature);
      for (std::size_t k = 0; k < kBandNeighbours; ++k) {
        std::int64_t sum = 0;
        for (const std::int32_t g : gradients[k].of) sum += g;
        move(means[k], sum, precision);
        logits[k] = means[k] >> (16 - kLogitBits);
        gradients[k] = {};
      }
    }
  };

  void begin_step(std::size_t step) noexcept {
    BandVectors& bands = state_.bands;
    for (std::size_t band = 0; band < kBands; ++band) {
      bands.idle.of[band] = rows_.has(band, step) ? 0 : -1;
      bands.rate.of[band] = reciprocal(prior_);
      precisions_[band] = prior_;
    }
    bands.bias = bands.kernel_bias = {};
    state_.place = 0;
  }

  BandTile tile_at(std::size_t column) noexcept {
    const std::size_t at = (kBandColumnsBefore + column) * kBands;
    return {std::min(kTileColumns, row_size_ - column), logits_.data() + column, gradients_.data() + column,
            trits_.data() + at, above_.data() + at};
  }

  void end_tile(std::size_t columns) noexcept {
    BandVectors& bands = state_.bands;
    for (std::size_t band = 0; band < kBands; ++band) {
      const std::uint32_t variance = bands.variance.of[band];
      grow(precisions_[band], variance);
      bands.rate.of[band] = reciprocal(precisions_[band]);
      bands.variance.of[band] = 0;
      curvature_ += variance;
    }
    columns_since_ += columns;
    if (columns_since_ < kLearnColumns) return;
    flags_.learn(bands.flag_gradients, (curvature_ * density_) >> 16, state_.flag_window);
    const std::uint64_t both = (std::uint64_t{density_} * density_) >> 16;  // a nonzero and a neighbour of it
    signs_.learn(bands.sign_gradients, columns_since_ * (kBands / 4) * both, state_.sign_window);
    curvature_ = 0;
    columns_since_ = 0;
  }

  void end_step() noexcept {
    for (std::size_t x = 0; x < row_size_; ++x) {
      const auto guess = static_cast<std::uint64_t>(state_.guesses[squash_index(logits_[x]) >> 7]);
      columns_[x].step(gradients_[x], guess * (kProbOne - guess) >> 12);  // of sixteen flags
      logits_[x] = base_ + (columns_[x].mean >> (16 - kLogitBits));
    }
    std::swap(trits_, above_);
  }

  BandRows rows_;
  std::size_t row_size_;
  std::int32_t base_;
  std::uint32_t density_, prior_;  // Q16
  BandState state_{};
  std::uint32_t precisions_[kBands] = {};  // of the biases
  std::vector<Scalar> columns_;
  std::vector<std::int32_t> logits_, gradients_;  // of the columns
  std::vector<std::int8_t> trits_, above_;        // of a step and of the one before: [columns][kBands]
  NeighbourWindow flags_{{}, context::prior(30)}, signs_{{}, context::prior(40)};
  std::uint64_t curvature_ = 0;
  std::size_t columns_since_ = 0;
};

// A banded payload goes on after its recipe with the number of bytes, 32 bits, that name the dead rows and
// columns (core/codecs/context/living.hpp), and these; then come the states of the bands' coders, then words.
inline constexpr std::size_t kBandStateBytes = 4 * kBands, kBandStartBytes = 4 + kBandStateBytes;
inline constexpr std::uint32_t kBandState = 1U << 16;  // of a coder with nothing left to decode

}  // namespace ternzip::context
