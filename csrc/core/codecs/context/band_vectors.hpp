// The few things that bands do side by side and compilers make poor instructions of: each object's own, for
// the instruction set that it is compiled for (core/simd/isa_source.hpp).
#pragma once

#if defined(__AVX2__)
#include <immintrin.h>
#endif

#include <cstddef>
#include <cstdint>

#include "core/base/compiler.hpp"
#include "core/codecs/context/band_kernels.hpp"
#if defined(__AVX2__) && !defined(__AVX512VL__)
#include "core/simd/refill.hpp"
#endif

namespace ternzip::context {
namespace {

// load: numbers from a column's trits.
// look_up: table[at] of each band.
// sum: over the bands.
// refill: every state below 2^16 takes the next 16-bit word, the bands in order; where the words go on.
#if defined(__AVX512VL__)

TERNZIP_INLINE void load(BandInts& to, const std::int8_t* from) {
  _mm512_store_si512(to.of, _mm512_cvtepi8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(from))));
}
template <class Number>
TERNZIP_INLINE void look_up(const Number* table, const BandInts& at, OfBands<Number>& numbers) {
  _mm512_store_si512(numbers.of, _mm512_i32gather_epi32(_mm512_load_si512(at.of), table, 4));
}
TERNZIP_INLINE std::int32_t sum(const BandInts& numbers) {
  return _mm512_reduce_add_epi32(_mm512_load_si512(numbers.of));
}
TERNZIP_INLINE const std::uint8_t* refill(BandWords& states, const std::uint8_t* words) {
  const __m512i state = _mm512_load_si512(states.of);
  const __mmask16 low = _mm512_cmplt_epu32_mask(state, _mm512_set1_epi32(0x10000));
  const __m512i next = _mm512_cvtepu16_epi32(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(words)));
  _mm512_store_si512(states.of, _mm512_mask_or_epi32(state, low, _mm512_slli_epi32(state, 16),
                                                     _mm512_maskz_expand_epi32(low, next)));
  return words + 2 * static_cast<unsigned>(_mm_popcnt_u32(low));
}

#elif defined(__AVX2__)

TERNZIP_INLINE __m256i half_of(const void* numbers, std::size_t l) {
  return _mm256_load_si256(static_cast<const __m256i*>(numbers) + l / 8);
}
TERNZIP_INLINE void set_half(void* numbers, std::size_t l, __m256i half) {
  _mm256_store_si256(static_cast<__m256i*>(numbers) + l / 8, half);
}

TERNZIP_INLINE void load(BandInts& to, const std::int8_t* from) {
  for (std::size_t l = 0; l < kBands; l += 8) {
    set_half(to.of, l, _mm256_cvtepi8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(from + l))));
  }
}
template <class Number>
TERNZIP_INLINE void look_up(const Number* table, const BandInts& at, OfBands<Number>& numbers) {
  for (std::size_t l = 0; l < kBands; ++l) numbers.of[l] = table[at.of[l]];
}
TERNZIP_INLINE std::int32_t sum(const BandInts& numbers) {
  const __m256i eight = _mm256_add_epi32(half_of(numbers.of, 0), half_of(numbers.of, 8));
  __m128i four = _mm_add_epi32(_mm256_castsi256_si128(eight), _mm256_extracti128_si256(eight, 1));
  four = _mm_add_epi32(four, _mm_shuffle_epi32(four, 0x4E));
  return _mm_cvtsi128_si32(_mm_add_epi32(four, _mm_shuffle_epi32(four, 0xB1)));
}

TERNZIP_INLINE const std::uint8_t* refill(BandWords& states, const std::uint8_t* words) {
  for (std::size_t l = 0; l < kBands; l += 8) {
    set_half(states.of, l, ternzip::refill(half_of(states.of, l), words));
  }
  return words;
}

#else

TERNZIP_INLINE void load(BandInts& to, const std::int8_t* from) {
  for (std::size_t l = 0; l < kBands; ++l) to.of[l] = from[l];
}
template <class Number>
TERNZIP_INLINE void look_up(const Number* table, const BandInts& at, OfBands<Number>& numbers) {
  for (std::size_t l = 0; l < kBands; ++l) numbers.of[l] = table[at.of[l]];
}
TERNZIP_INLINE std::int32_t sum(const BandInts& numbers) {
  std::int32_t total = 0;
  for (const std::int32_t number : numbers.of) total += number;
  return total;
}
TERNZIP_INLINE const std::uint8_t* refill(BandWords& states, const std::uint8_t* words) {
  for (std::size_t l = 0; l < kBands; ++l) {  // without a branch: it would be mispredicted
    const std::uint32_t state = states.of[l], low = state < 0x10000 ? 1 : 0;
    const std::uint32_t word = words[0] | std::uint32_t{words[1]} << 8;
    states.of[l] = low != 0 ? state << 16 | word : state;
    words += 2 * std::size_t{low};
  }
  return words;
}

#endif

}  // namespace
}  // namespace ternzip::context
