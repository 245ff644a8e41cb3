// Vectors of eight lanes on x86-64. What AVX2 and AVX-512 do differently is `refill`.
#pragma once

#include <immintrin.h>

#include "core/codecs/fast/kernels_vectors.hpp"
#include "core/simd/refill.hpp"

namespace ternzip::fast {
namespace {

class X86Lanes {
 public:
  using Vector = __m256i;

  explicit X86Lanes(const DecodeTables& tables)
      : tables_(tables),
        slot_mask_(_mm256_set1_epi32(static_cast<int>((1u << tables.precision) - 1))),
        precision_(_mm_cvtsi32_si128(static_cast<int>(tables.precision))) {}

  Vector load(const std::uint32_t* from) const {
    return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(from));
  }
  void store(std::uint32_t* to, Vector vector) const {
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(to), vector);
  }
  Vector indices(Vector states) const { return _mm256_and_si256(states, slot_mask_); }
  Vector slots(const std::uint32_t* index) const {
    return _mm256_inserti128_si256(_mm256_castsi128_si256(four_slots(index)), four_slots(index + 4), 1);
  }
  Vector next(Vector states, Vector slots, const std::uint8_t*& words) const {
    const __m256i field = _mm256_set1_epi32(0xFFF);
    const __m256i frequency = _mm256_and_si256(slots, field);
    const __m256i offset = _mm256_and_si256(_mm256_srli_epi32(slots, 12), field);
    const __m256i quotient = _mm256_srl_epi32(states, precision_);
    return refill(_mm256_add_epi32(_mm256_mullo_epi32(frequency, quotient), offset), words);
  }
  void store_symbols(std::uint8_t* to, Vector slots) const {
    const __m256i top_bytes = _mm256_setr_epi8(3, 7, 11, 15, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1,
                                               3, 7, 11, 15, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1);
    const __m256i tops = _mm256_shuffle_epi8(slots, top_bytes);
    _mm_storel_epi64(reinterpret_cast<__m128i*>(to),
                     _mm_unpacklo_epi32(_mm256_castsi256_si128(tops), _mm256_extracti128_si256(tops, 1)));
  }

 private:
  // Four slots by scalar loads: faster than a gather where its microcode guards against data sampling, and
  // not slower elsewhere.
  __m128i four_slots(const std::uint32_t* index) const {
    const auto slot = [&](unsigned i) { return static_cast<int>(tables_.slots[index[i]]); };
    __m128i slots = _mm_cvtsi32_si128(slot(0));
    slots = _mm_insert_epi32(slots, slot(1), 1);
    slots = _mm_insert_epi32(slots, slot(2), 2);
    return _mm_insert_epi32(slots, slot(3), 3);
  }

  const DecodeTables& tables_;
  __m256i slot_mask_;
  __m128i precision_;
};

}  // namespace
}  // namespace ternzip::fast
