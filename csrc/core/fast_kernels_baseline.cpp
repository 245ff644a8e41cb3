#include "core/fast_kernels_common.hpp"

namespace ternzip::fast {
namespace {

template <unsigned kStride>
void decode_loop(const DecodeTables& tables, unsigned lanes, Cursor& cursor) {
  const std::uint32_t mask = (1u << tables.precision) - 1;
  std::uint8_t symbols[64];
  Cursor at = cursor;
  while (round_fits(tables, lanes, at)) {
    const std::uint8_t* words = at.words;
    for (unsigned lane = 0; lane < lanes; ++lane) {
      std::uint32_t state = at.states[lane];
      const std::uint32_t slot = tables.slots[state & mask];
      state = (slot & 0xFFFu) * (state >> tables.precision) + (slot >> 12 & 0xFFFu);
      symbols[lane] = static_cast<std::uint8_t>(slot >> 24);
      const std::uint32_t word = words[0] | static_cast<std::uint32_t>(words[1]) << 8;
      const bool refill = state < 0x10000u;
      at.states[lane] = refill ? state << 16 | word : state;
      words += refill ? 2 : 0;
    }
    at.words = words;
    at.out = emit_symbols<kStride>(tables, symbols, lanes, at.out);
    --at.rounds;
  }
  cursor = at;
}

void decode_rounds(const DecodeTables& tables, unsigned lanes, Cursor& cursor) {
  TERNZIP_FAST_BY_STRIDE(decode_loop)
}

}  // namespace

const Kernels kBaselineKernels = {decode_rounds, expand_trits};

}  // namespace ternzip::fast
