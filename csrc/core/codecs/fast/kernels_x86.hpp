// The decoding loop of x86-64, in vectors of eight lanes. What AVX2 and AVX-512 do differently is `refill`,
// to be defined before this is included: it moves a word into every lane below 2^16 and returns the new
// states.
#pragma once

#include <immintrin.h>

#include "core/codecs/fast/kernels_common.hpp"

namespace ternzip::fast {
namespace {

// Four slots by scalar loads: faster than a gather where its microcode guards against data sampling, and not
// slower elsewhere.
inline __m128i load_slots(const DecodeTables& tables, const std::uint32_t* index) {
  const auto slot = [&](unsigned i) { return static_cast<int>(tables.slots[index[i]]); };
  __m128i slots = _mm_cvtsi32_si128(slot(0));
  slots = _mm_insert_epi32(slots, slot(1), 1);
  slots = _mm_insert_epi32(slots, slot(2), 2);
  return _mm_insert_epi32(slots, slot(3), 3);
}

template <unsigned kVectors, unsigned kStride>
void decode_vectors(const DecodeTables& tables, Cursor& cursor) {
  constexpr unsigned kLanes = 8 * kVectors;
  const __m256i slot_mask = _mm256_set1_epi32(static_cast<int>((1u << tables.precision) - 1));
  const __m256i field = _mm256_set1_epi32(0xFFF);
  const __m128i precision = _mm_cvtsi32_si128(static_cast<int>(tables.precision));
  const __m256i top_bytes = _mm256_setr_epi8(3, 7, 11, 15, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, 3,
                                             7, 11, 15, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1);
  Cursor at = cursor;
  __m256i states[kVectors];
  TERNZIP_UNROLL
  for (unsigned v = 0; v < kVectors; ++v) {
    states[v] = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(at.states + 8 * v));
  }

  // Software pipeline: while a vector is taken further, the slots of the next are loaded and the symbols of
  // the one before are emitted, so that the latencies of the three overlap.
  alignas(32) std::uint32_t index[kVectors][8];
  const auto store_index = [&](unsigned v) {
    _mm256_store_si256(reinterpret_cast<__m256i*>(index[v]), _mm256_and_si256(states[v], slot_mask));
  };
  const auto load_vector = [&](unsigned v) {
    return _mm256_inserti128_si256(_mm256_castsi128_si256(load_slots(tables, index[v])),
                                   load_slots(tables, index[v] + 4), 1);
  };
  TERNZIP_UNROLL
  for (unsigned v = 0; v < kVectors; ++v) store_index(v);
  __m256i slots = load_vector(0);
  alignas(8) std::uint8_t symbols[8];
  bool waiting = false;
  const auto step = [&](unsigned v) {
    const __m256i ahead = kVectors > 1 ? load_vector((v + 1) % kVectors) : slots;
    const __m256i frequency = _mm256_and_si256(slots, field);
    const __m256i offset = _mm256_and_si256(_mm256_srli_epi32(slots, 12), field);
    const __m256i quotient = _mm256_srl_epi32(states[v], precision);
    states[v] = refill(_mm256_add_epi32(_mm256_mullo_epi32(frequency, quotient), offset), at.words);
    store_index(v);
    const __m256i tops = _mm256_shuffle_epi8(slots, top_bytes);
    _mm_storel_epi64(reinterpret_cast<__m128i*>(symbols),
                     _mm_unpacklo_epi32(_mm256_castsi256_si128(tops), _mm256_extracti128_si256(tops, 1)));
    slots = kVectors > 1 ? ahead : load_vector(v);
  };
  for (; round_fits(tables, kLanes, at); --at.rounds) {
    TERNZIP_UNROLL
    for (unsigned v = 0; v < kVectors; ++v) {
      if (v != 0 || waiting) at.out = emit_symbols<kStride, 8>(tables, symbols, at.out);
      step(v);
    }
    waiting = true;
  }
  if (waiting) at.out = emit_symbols<kStride, 8>(tables, symbols, at.out);

  TERNZIP_UNROLL
  for (unsigned v = 0; v < kVectors; ++v) {
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(at.states + 8 * v), states[v]);
  }
  cursor = at;
}

template <unsigned kStride>
void decode_loop(const DecodeTables& tables, unsigned lanes, Cursor& cursor) {
  switch (lanes) {
    case 64: return decode_vectors<8, kStride>(tables, cursor);
    case 32: return decode_vectors<4, kStride>(tables, cursor);
    case 16: return decode_vectors<2, kStride>(tables, cursor);
    default: return decode_vectors<1, kStride>(tables, cursor);
  }
}

void decode_rounds(const DecodeTables& tables, unsigned lanes, Cursor& cursor) {
  TERNZIP_FAST_BY_STRIDE(decode_loop)
}

}  // namespace
}  // namespace ternzip::fast
