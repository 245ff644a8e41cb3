#include <immintrin.h>

#include <cstdint>

namespace ternzip::fast {
namespace {

inline __m256i refill(__m256i states, const std::uint8_t*& words) {
  const __mmask8 low = _mm256_cmplt_epu32_mask(states, _mm256_set1_epi32(0x10000));
  const __m256i next = _mm256_cvtepu16_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(words)));
  words += 2 * static_cast<unsigned>(_mm_popcnt_u32(low));
  return _mm256_mask_or_epi32(states, low, _mm256_slli_epi32(states, 16),
                              _mm256_maskz_expand_epi32(low, next));
}

}  // namespace
}  // namespace ternzip::fast

#include "core/codecs/fast/kernels_x86.hpp"

namespace ternzip::fast {

const DecodeRounds kAvx512DecodeRounds = decode_rounds<X86Lanes>;

}  // namespace ternzip::fast
