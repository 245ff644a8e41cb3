#include <immintrin.h>

#include "core/fast_kernels_common.hpp"

namespace ternzip::fast {
namespace {

// kVectors vectors of 16 lanes. The states live in registers throughout.
template <unsigned kVectors, unsigned kStride>
void decode_vectors(const DecodeTables& tables, Cursor& cursor) {
  constexpr unsigned kLanes = 16 * kVectors;
  const __m512i slot_mask = _mm512_set1_epi32(static_cast<int>((1u << tables.precision) - 1));
  const __m512i field = _mm512_set1_epi32(0xFFF);
  const __m512i floor = _mm512_set1_epi32(0x10000);
  const __m128i precision = _mm_cvtsi32_si128(static_cast<int>(tables.precision));
  alignas(64) std::uint8_t symbols[kLanes];
  __m512i states[kVectors];
  Cursor at = cursor;
  for (unsigned v = 0; v < kVectors; ++v) states[v] = _mm512_loadu_si512(at.states + 16 * v);
  while (round_fits(tables, kLanes, at)) {
    for (unsigned v = 0; v < kVectors; ++v) {
      const __m512i slot = _mm512_i32gather_epi32(_mm512_and_si512(states[v], slot_mask), tables.slots, 4);
      const __m512i frequency = _mm512_and_si512(slot, field);
      const __m512i offset = _mm512_and_si512(_mm512_srli_epi32(slot, 12), field);
      _mm_store_si128(reinterpret_cast<__m128i*>(symbols + 16 * v),
                      _mm512_cvtepi32_epi8(_mm512_srli_epi32(slot, 24)));
      const __m512i state =
          _mm512_add_epi32(_mm512_mullo_epi32(frequency, _mm512_srl_epi32(states[v], precision)), offset);
      const __mmask16 refill = _mm512_cmplt_epu32_mask(state, floor);
      const __m512i words =
          _mm512_cvtepu16_epi32(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(at.words)));
      states[v] = _mm512_mask_or_epi32(state, refill, _mm512_slli_epi32(state, 16),
                                       _mm512_maskz_expand_epi32(refill, words));
      at.words += 2 * static_cast<unsigned>(_mm_popcnt_u32(refill));
    }
    at.out = emit_symbols<kStride>(tables, symbols, kLanes, at.out);
    --at.rounds;
  }
  for (unsigned v = 0; v < kVectors; ++v) _mm512_storeu_si512(at.states + 16 * v, states[v]);
  cursor = at;
}

template <unsigned kStride>
void decode_loop(const DecodeTables& tables, unsigned lanes, Cursor& cursor) {
  switch (lanes) {
    case 64: return decode_vectors<4, kStride>(tables, cursor);
    case 32: return decode_vectors<2, kStride>(tables, cursor);
    case 16: return decode_vectors<1, kStride>(tables, cursor);
    default: return kAvx2Kernels.decode_rounds(tables, lanes, cursor);
  }
}

void decode_rounds(const DecodeTables& tables, unsigned lanes, Cursor& cursor) {
  TERNZIP_FAST_BY_STRIDE(decode_loop)
}

}  // namespace

const Kernels kAvx512Kernels = {decode_rounds, expand_trits};

}  // namespace ternzip::fast
