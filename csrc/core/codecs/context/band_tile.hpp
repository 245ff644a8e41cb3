// How a tile of the banded recipes is coded: the same source for the decoders of every instruction set and
// for the encoder. Loops over the bands are what compilers make vectors of; all functions are each object's
// own (core/simd/isa_source.hpp).
#pragma once

#include "core/base/compiler.hpp"
#include "core/codecs/context/band_kernels.hpp"
#include "core/codecs/context/band_vectors.hpp"

namespace ternzip::context {
namespace {

// The trits of a column, the probability of each band that its trit is not 0, and that it is -1.
struct BandSymbols {
  BandInts trits;
  BandWords nonzero, negative;  // kBandPrecision
};

// A logit's place among the guesses.
TERNZIP_INLINE std::int32_t guess_index(std::int32_t logit) {
  constexpr std::int32_t kLimit = 12 << 12;
  const std::int32_t place = logit + kLimit;
  return (place < 0 ? 0 : place > 2 * kLimit - 1 ? 2 * kLimit - 1 : place) >> 7;
}

TERNZIP_INLINE std::int32_t limited_bias(std::int32_t bias) {
  return bias < -kBandBiasLimit ? -kBandBiasLimit : bias > kBandBiasLimit ? kBandBiasLimit : bias;
}

// Bin `bin` of the refinement learns from a flag, and the rates that it takes part in follow.
TERNZIP_INLINE void refine(BandState& state, std::size_t bin, bool flag) {
  std::uint32_t& refined = state.refinement[bin];
  refined += (flag ? (1u << 25) - 1 : 0u) - (refined >> 7);
  const std::uint32_t* const guesses = state.rates + 8 * bin;
  std::uint32_t rates[8];
  for (std::size_t j = 0; j < 8; ++j) {
    const std::uint32_t guess = guesses[j] >> 16;
    const std::uint32_t rate = (guess + (refined >> 16) + 1) >> (17 - kBandPrecision);
    rates[j] = guess << 16 | (rate < 2 ? 2 : rate);
  }
  for (std::size_t j = 0; j < 8; ++j) state.rates[8 * bin + j] = rates[j];
}

// `coder.code(symbols, idle, column)` codes the trits of a column by their probabilities, where a band that
// is idle has a 0, and takes no bits.
template <bool kPredicted, class Coder>
TERNZIP_INLINE void code_tile(BandState& state, const BandTile& tile, Coder& coder) {
  BandVectors bands = state.bands;
  std::size_t place = state.place;
  BandInts neighbours[kBandNeighbours];
  for (std::size_t k = 0; k < kBandColumnsBefore; ++k) load(neighbours[k], tile.trits - (k + 1) * kBands);
  for (std::size_t x = 0; x < tile.columns; ++x) {
    load(neighbours[kBandColumnsBefore], tile.above + x * kBands);

    BandInts index, guess, sign_guess;
    BandSymbols symbols;
    for (std::size_t l = 0; l < kBands; ++l) {
      std::int32_t logit = tile.logits[x] + (bands.bias.of[l] >> 4) + (bands.kernel_bias.of[l] >> 4);
      for (std::size_t k = 0; k < kBandNeighbours; ++k) {
        logit += state.flag_window[k] & -(neighbours[k].of[l] & 1);
      }
      index.of[l] = guess_index(logit);
    }
    look_up(state.rates, index, symbols.nonzero);
    for (std::size_t l = 0; l < kBands; ++l) {
      guess.of[l] = static_cast<std::int32_t>(symbols.nonzero.of[l] >> 16);
      symbols.nonzero.of[l] &= 0xFFFF;
    }
    if constexpr (kPredicted) {
      BandInts sign_index;
      for (std::size_t l = 0; l < kBands; ++l) {
        std::int32_t logit = state.sign_base;
        for (std::size_t k = 0; k < kBandNeighbours; ++k) {
          logit -= state.sign_window[k] * neighbours[k].of[l];
        }
        sign_index.of[l] = guess_index(logit);
      }
      look_up(state.guesses, sign_index, sign_guess);
    } else {
      const std::int32_t base = state.guesses[guess_index(state.sign_base)];
      for (std::size_t l = 0; l < kBands; ++l) sign_guess.of[l] = base;
    }
    for (std::size_t l = 0; l < kBands; ++l) {
      const std::uint32_t shared = (symbols.nonzero.of[l] - 2) * static_cast<std::uint32_t>(sign_guess.of[l]);
      symbols.negative.of[l] = 1 + (shared >> 16);
    }
    coder.code(symbols, bands.idle, x);

    BandInts gradient;
    for (std::size_t l = 0; l < kBands; ++l) {
      const std::int32_t flag = symbols.trits.of[l] & 1;
      gradient.of[l] = ((flag << 16) - guess.of[l]) & ~bands.idle.of[l];
    }
    for (std::size_t l = 0; l < kBands; ++l) {
      const std::int32_t g = gradient.of[l] >> 3;
      bands.bias.of[l] = limited_bias(bands.bias.of[l] + (g * bands.rate.of[l] >> 13));
      bands.kernel_bias.of[l] = limited_bias(bands.kernel_bias.of[l] + (g * state.kernel_rate >> 13));
      const auto p = static_cast<std::uint32_t>(guess.of[l]);
      bands.variance.of[l] += p * (65536 - p) >> 16 & ~static_cast<std::uint32_t>(bands.idle.of[l]);
    }
    tile.gradients[x] = sum(gradient);
    for (std::size_t k = 0; k < kBandNeighbours; ++k) {
      for (std::size_t l = 0; l < kBands; ++l) {
        bands.flag_gradients[k].of[l] += gradient.of[l] & -(neighbours[k].of[l] & 1);
      }
    }
    if constexpr (kPredicted) {
      for (std::size_t l = 0; l < kBands; ++l) {
        const std::int32_t trit = symbols.trits.of[l];
        gradient.of[l] = ((trit < 0 ? 65536 : 0) - sign_guess.of[l]) & -(trit & 1);
      }
      for (std::size_t k = 0; k < kBandNeighbours; ++k) {
        for (std::size_t l = 0; l < kBands; ++l) {
          bands.sign_gradients[k].of[l] -= gradient.of[l] * neighbours[k].of[l];
        }
      }
    }
    if (bands.idle.of[x] == 0) {
      refine(state, static_cast<std::size_t>(index.of[x]) / 8, symbols.trits.of[x] != 0);
    }
    for (std::size_t k = kBandColumnsBefore; k-- > 1;) neighbours[k] = neighbours[k - 1];
    neighbours[0] = symbols.trits;
    if (++place == state.kernel) {
      place = 0;
      bands.kernel_bias = {};
    }
  }
  state.bands = bands;
  state.place = place;
}

}  // namespace
}  // namespace ternzip::context
