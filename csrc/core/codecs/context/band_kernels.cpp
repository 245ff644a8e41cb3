// Compiled once per instruction set; see core/simd/isa_source.hpp for what may stand here.
#include "core/codecs/context/band_kernels.hpp"

#include "core/codecs/context/band_tile.hpp"
#include "core/simd/isa_source.hpp"

namespace ternzip::context {
namespace {

struct Decoder {
  BandWords states;
  const std::uint8_t* words;
  std::int8_t* out;

  TERNZIP_INLINE void code(BandSymbols& symbols, const BandInts& idle, std::size_t column) {
    constexpr std::uint32_t kOne = 1u << kBandPrecision;
    for (std::size_t l = 0; l < kBands; ++l) {
      const std::uint32_t nonzero = symbols.nonzero.of[l] & ~static_cast<std::uint32_t>(idle.of[l]);
      const std::uint32_t negative = symbols.negative.of[l];
      const std::uint32_t state = states.of[l], slot = state % kOne;
      const std::uint32_t is_nonzero = slot >= kOne - nonzero ? ~0u : 0u;
      const std::uint32_t is_negative = slot >= kOne - negative ? is_nonzero : 0u;
      const std::uint32_t frequency = is_negative  ? negative
                                      : is_nonzero ? nonzero - negative
                                                   : kOne - nonzero;
      const std::uint32_t start = is_negative ? kOne - negative : is_nonzero ? kOne - nonzero : 0u;
      states.of[l] = frequency * (state >> kBandPrecision) + slot - start;
      symbols.trits.of[l] = static_cast<std::int32_t>((is_negative | 1u) & is_nonzero);
    }
    words = refill(states, words);
    for (std::size_t l = 0; l < kBands; ++l) {
      out[column * kBands + l] = static_cast<std::int8_t>(symbols.trits.of[l]);
    }
  }
};

template <bool kPredicted>
const std::uint8_t* decode(BandState& state, const BandTile& tile, BandWords& states,
                           const std::uint8_t* words) {
  Decoder decoder{states, words, tile.trits};
  code_tile<kPredicted>(state, tile, decoder);
  states = decoder.states;
  return decoder.words;
}

}  // namespace

extern const BandKernels TERNZIP_TABLE(kBandKernels) = {decode<false>, decode<true>};

}  // namespace ternzip::context
