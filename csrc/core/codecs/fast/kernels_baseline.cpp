#include "core/codecs/fast/kernels_common.hpp"

namespace ternzip::fast {
namespace {

template <unsigned kStride>
void decode_loop(const DecodeTables& tables, unsigned lanes, Cursor& cursor) {
  constexpr unsigned kGroup = 8;
  const std::uint32_t mask = (1u << tables.precision) - 1;
  std::uint8_t symbols[kGroup];
  Cursor at = cursor;
  for (; round_fits(tables, lanes, at); --at.rounds) {
    for (unsigned first = 0; first < lanes; first += kGroup) {
      const std::uint8_t* words = at.words;
      std::uint32_t* const states = at.states + first;
      for (unsigned lane = 0; lane < kGroup; ++lane) {
        const std::uint32_t slot = tables.slots[states[lane] & mask];
        const std::uint32_t state =
            (slot & 0xFFFu) * (states[lane] >> tables.precision) + (slot >> 12 & 0xFFFu);
        symbols[lane] = static_cast<std::uint8_t>(slot >> 24);
        // Without a branch, which would be mispredicted every other time.
        const std::uint32_t word = words[0] | static_cast<std::uint32_t>(words[1]) << 8;
        const std::uint32_t refill = state < 0x10000u ? 1u : 0u;
        states[lane] = state ^ ((state ^ (state << 16 | word)) & (0u - refill));
        words += 2 * refill;
      }
      at.words = words;
      at.out = emit_symbols<kStride, kGroup>(tables, symbols, at.out);
    }
  }
  cursor = at;
}

void decode_rounds(const DecodeTables& tables, unsigned lanes, Cursor& cursor) {
  switch (tables.stride) {
    case 8: return decode_loop<8>(tables, lanes, cursor);
    case 16: return decode_loop<16>(tables, lanes, cursor);
    case 32: return decode_loop<32>(tables, lanes, cursor);
    default: return decode_loop<64>(tables, lanes, cursor);
  }
}

}  // namespace

const DecodeRounds kBaselineDecodeRounds = decode_rounds;

}  // namespace ternzip::fast
