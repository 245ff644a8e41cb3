#include <immintrin.h>

#include "core/fast_kernels_common.hpp"

namespace ternzip::fast {
namespace {

// expand[mask] sends the first popcount(mask) of eight elements to the lanes whose bit is set: byte i is the
// number of set bits below bit i.
struct ExpandTable {
  alignas(8) std::uint8_t index[256][8];
};

constexpr ExpandTable make_expand_table() {
  ExpandTable table{};
  for (unsigned mask = 0; mask < 256; ++mask) {
    std::uint8_t taken = 0;
    for (unsigned lane = 0; lane < 8; ++lane) {
      table.index[mask][lane] = taken;
      taken = static_cast<std::uint8_t>(taken + (mask >> lane & 1u));
    }
  }
  return table;
}

constexpr ExpandTable kExpand = make_expand_table();

// kVectors vectors of 8 lanes.
template <unsigned kVectors, unsigned kStride>
void decode_vectors(const DecodeTables& tables, Cursor& cursor) {
  constexpr unsigned kLanes = 8 * kVectors;
  const __m256i slot_mask = _mm256_set1_epi32(static_cast<int>((1u << tables.precision) - 1));
  const __m256i field = _mm256_set1_epi32(0xFFF);
  const __m128i precision = _mm_cvtsi32_si128(static_cast<int>(tables.precision));
  const __m256i top_bytes = _mm256_setr_epi8(3, 7, 11, 15, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, 3,
                                             7, 11, 15, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1);
  alignas(32) std::uint8_t symbols[kLanes];
  __m256i states[kVectors];
  Cursor at = cursor;
  for (unsigned v = 0; v < kVectors; ++v) {
    states[v] = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(at.states + 8 * v));
  }
  while (round_fits(tables, kLanes, at)) {
    for (unsigned v = 0; v < kVectors; ++v) {
      const __m256i slot = _mm256_i32gather_epi32(reinterpret_cast<const int*>(tables.slots),
                                                  _mm256_and_si256(states[v], slot_mask), 4);
      const __m256i frequency = _mm256_and_si256(slot, field);
      const __m256i offset = _mm256_and_si256(_mm256_srli_epi32(slot, 12), field);
      const __m256i tops = _mm256_shuffle_epi8(slot, top_bytes);
      const __m128i packed =
          _mm_unpacklo_epi32(_mm256_castsi256_si128(tops), _mm256_extracti128_si256(tops, 1));
      _mm_storel_epi64(reinterpret_cast<__m128i*>(symbols + 8 * v), packed);
      const __m256i state =
          _mm256_add_epi32(_mm256_mullo_epi32(frequency, _mm256_srl_epi32(states[v], precision)), offset);
      // AVX2 compares signed only: below 2^16 means nothing in the upper half.
      const __m256i refill = _mm256_cmpeq_epi32(_mm256_srli_epi32(state, 16), _mm256_setzero_si256());
      const auto mask = static_cast<unsigned>(_mm256_movemask_ps(_mm256_castsi256_ps(refill)));
      const __m256i words =
          _mm256_cvtepu16_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(at.words)));
      const __m256i order =
          _mm256_cvtepu8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(kExpand.index[mask])));
      const __m256i refilled =
          _mm256_or_si256(_mm256_slli_epi32(state, 16), _mm256_permutevar8x32_epi32(words, order));
      states[v] = _mm256_blendv_epi8(state, refilled, refill);
      at.words += 2 * static_cast<unsigned>(_mm_popcnt_u32(mask));
    }
    at.out = emit_symbols<kStride>(tables, symbols, kLanes, at.out);
    --at.rounds;
  }
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

const Kernels kAvx2Kernels = {decode_rounds, expand_trits};

}  // namespace ternzip::fast
