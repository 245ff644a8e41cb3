// How eight rANS states in the lanes of a vector take words, for sources that are compiled for AVX2 or
// AVX-512 and have included <immintrin.h>; each object's own (core/simd/isa_source.hpp).
#pragma once

#include <cstdint>

#include "core/base/compiler.hpp"

namespace ternzip {
namespace {

// refill: every state below 2^16 takes the next 16-bit word, lane by lane; `words` goes on behind them. Reads
// 16 bytes whatever it takes.
#if defined(__AVX512VL__)

TERNZIP_INLINE __m256i refill(__m256i states, const std::uint8_t*& words) {
  const __mmask8 low = _mm256_cmplt_epu32_mask(states, _mm256_set1_epi32(0x10000));
  const __m256i next = _mm256_cvtepu16_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(words)));
  words += 2 * static_cast<unsigned>(_mm_popcnt_u32(low));
  return _mm256_mask_or_epi32(states, low, _mm256_slli_epi32(states, 16),
                              _mm256_maskz_expand_epi32(low, next));
}

#else

// index[mask] sends the first popcount(mask) of eight elements to the lanes whose bit is set: entry i is the
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

TERNZIP_INLINE __m256i refill(__m256i states, const std::uint8_t*& words) {
  // AVX2 compares signed only: below 2^16 means nothing in the upper half.
  const __m256i low = _mm256_cmpeq_epi32(_mm256_srli_epi32(states, 16), _mm256_setzero_si256());
  const auto mask = static_cast<unsigned>(_mm256_movemask_ps(_mm256_castsi256_ps(low)));
  const __m256i next = _mm256_cvtepu16_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(words)));
  const __m256i order =
      _mm256_cvtepu8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(kExpand.index[mask])));
  words += 2 * static_cast<unsigned>(_mm_popcnt_u32(mask));
  return _mm256_blendv_epi8(
      states, _mm256_or_si256(_mm256_slli_epi32(states, 16), _mm256_permutevar8x32_epi32(next, order)), low);
}

#endif

}  // namespace
}  // namespace ternzip
