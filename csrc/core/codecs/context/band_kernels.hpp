// The inner loop of the banded recipes (core/codecs/context/bands.hpp): one function per instruction set,
// from band_kernels.cpp. Only the pointers at the end leave such an object (core/simd/isa_source.hpp).
#pragma once

#include <cstddef>
#include <cstdint>

namespace ternzip::context {

inline constexpr std::size_t kBands = 16;
// A step is coded in tiles of so many columns, between which the biases' precisions grow.
inline constexpr std::size_t kTileColumns = 16;
// A trit is predicted from those one, two and three columns before it and from the one above it.
inline constexpr std::size_t kBandColumnsBefore = 3, kBandNeighbours = kBandColumnsBefore + 1;
// Logits are looked up in steps of 1/32 of a nat, eight of which are a bin of the refinement.
inline constexpr std::size_t kBandGuesses = 768, kBandBins = 96;
inline constexpr unsigned kBandPrecision = 14;  // of the probabilities that trits are coded with
inline constexpr std::int32_t kBandBiasLimit = 1 << 20;
// A column takes at most one 16-bit word for each band.
inline constexpr std::size_t kTileWordBytes = 2 * kTileColumns * kBands;

// One number for each band.
template <class Number>
struct alignas(64) OfBands {
  Number of[kBands];
};
using BandInts = OfBands<std::int32_t>;
using BandWords = OfBands<std::uint32_t>;

// What of the model is the bands' own.
struct BandVectors {
  BandInts idle;                             // all ones for a band that has no row left, or 0
  BandInts bias, kernel_bias, rate;          // Q16
  BandWords variance;                        // Q16, summed up over the tile
  BandInts flag_gradients[kBandNeighbours];  // Q16, summed up since the windows learned
  BandInts sign_gradients[kBandNeighbours];
};

// What the kernels need of the model.
struct BandState {
  BandVectors bands;
  std::int32_t flag_window[kBandNeighbours], sign_window[kBandNeighbours];  // Q12
  std::int32_t sign_base;                                                   // a logit
  std::int32_t kernel_rate;                                                 // Q16
  std::size_t kernel, place;  // weights of a kernel; how many of one are behind the tile's first column
  std::uint32_t refinement[kBandBins];
  std::uint32_t rates[kBandGuesses];   // guess << 16 | probability of a nonzero (kBandPrecision)
  std::int32_t guesses[kBandGuesses];  // Q16
};

struct BandTile {
  std::size_t columns;         // at most kTileColumns
  const std::int32_t* logits;  // of the columns, with the base
  std::int32_t* gradients;     // of the columns: sums over the bands
  std::int8_t* trits;          // [columns][kBands]; what is before them can be read, too
  const std::int8_t* above;    // likewise, one row before
};

// Decodes a tile; `states` are those of the bands' coders. Reads up to 2 * kBands bytes beyond the
// kTileWordBytes that it may take from `words`, and returns where the words go on.
using DecodeTile = const std::uint8_t* (*)(BandState& state, const BandTile& tile, BandWords& states,
                                           const std::uint8_t* words);
// Without and with predicted signs.
struct BandKernels {
  DecodeTile decode, decode_predicted;
};

extern const BandKernels kBandKernelsBaseline;
#if defined(TERNZIP_X86)
extern const BandKernels kBandKernelsAvx2;
extern const BandKernels kBandKernelsAvx512;
#endif

}  // namespace ternzip::context
