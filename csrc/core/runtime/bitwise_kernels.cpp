// Compiled once per instruction set; see core/simd/isa_source.hpp for what may stand here.
//
// A product of trits is not zero where both masks are 1, and negative where the signs differ besides:
//   sum = ones(not zero) - 2 ones(negative).
#include "core/runtime/bitwise_kernels.hpp"

#include "core/base/compiler.hpp"
#include "core/simd/isa_source.hpp"

#if defined(__AVX2__)
#include <immintrin.h>
#elif defined(TERNZIP_NEON) && defined(__GNUC__)
#include <arm_neon.h>
#endif

namespace ternzip {
namespace {

// Vectors as wide as a register; a row of weights has a lane. Where a compiler has no such type, a lane alone
// does the same work more slowly.
#if !defined(__GNUC__)
constexpr std::size_t kWidth = 1;
using Words = std::uint32_t;
using Floats = float;
using UnalignedWords = Words;
using UnalignedFloats = Floats;
#else
#if defined(__AVX512F__)
constexpr std::size_t kWidth = 16;
#elif defined(__AVX2__)
constexpr std::size_t kWidth = 8;
#else
constexpr std::size_t kWidth = 4;
#endif
using Words = std::uint32_t __attribute__((vector_size(kWidth * 4)));
using Floats = float __attribute__((vector_size(kWidth * 4)));
// The attributes stand before the `=`: Clang ignores the alignment of a type behind it.
using UnalignedWords __attribute__((aligned(4), may_alias)) = Words;
using UnalignedFloats __attribute__((aligned(4), may_alias)) = Floats;
#endif

// Pixels whose sums are in registers together.
#if defined(__AVX512F__)
constexpr std::size_t kPixelsAtOnce = 8;
#else
constexpr std::size_t kPixelsAtOnce = 4;
#endif
static_assert(kSumRows % kWidth == 0 && kPackPixels % kWidth == 0 && kSumPixels % kPixelsAtOnce == 0);

TERNZIP_INLINE Words load(const std::uint32_t* p) { return *reinterpret_cast<const UnalignedWords*>(p); }
TERNZIP_INLINE Floats load(const float* p) { return *reinterpret_cast<const UnalignedFloats*>(p); }
TERNZIP_INLINE void store(std::uint32_t* p, const Words& v) { *reinterpret_cast<UnalignedWords*>(p) = v; }
TERNZIP_INLINE Words all(std::uint32_t word) { return Words{} + word; }

TERNZIP_INLINE std::uint32_t lane(const Words& v, std::size_t i) {
#if defined(__GNUC__)
  return v[i];
#else
  (void)i;
  return v;
#endif
}

// --- counting ----------------------------------------------------------------------------------------------

// The sums of a lane each, in two parts: `counts` take so many words before they must go over to the total,
// which is kBias too large for each word then.
struct Sums {
  Words total;
  Words counts;
};

#if defined(__GNUC__) && defined(__AVX512VPOPCNTDQ__)
constexpr std::size_t kMostWords = ~std::size_t{0};
constexpr std::uint32_t kBias = 0;

TERNZIP_INLINE void add(const Words& products, const Words& negative, Sums& sums) {
  sums.total += (Words)_mm512_popcnt_epi32((__m512i)products);
  sums.counts += (Words)_mm512_popcnt_epi32((__m512i)negative);
}
TERNZIP_INLINE void flush(Sums& sums) {
  sums.total -= sums.counts << 1;
  sums.counts = Words{};
}

#else
// Each byte of a lane counts for itself: 16 + ones(products) - 2 ones(negative) for a word, at most 24.
constexpr std::size_t kMostWords = 10;
constexpr std::uint32_t kBias = 4 * 16;

#if defined(__GNUC__) && defined(__AVX2__)
// table[low half of the byte] for each byte.
TERNZIP_INLINE Words look_up(const __m128i& table, const Words& v) {
  const Words low = v & 0x0f0f0f0fu;
#if defined(__AVX512BW__)
  return (Words)_mm512_shuffle_epi8(_mm512_broadcast_i32x4(table), (__m512i)low);
#else
  return (Words)_mm256_shuffle_epi8(_mm256_broadcastsi128_si256(table), (__m256i)low);
#endif
}
#endif

TERNZIP_INLINE Words count(const Words& products, const Words& negative) {
#if defined(__GNUC__) && defined(__AVX2__)
  const __m128i ones = _mm_setr_epi8(0, 1, 1, 2, 1, 2, 2, 3, 1, 2, 2, 3, 2, 3, 3, 4);
  const __m128i twice_less = _mm_setr_epi8(8, 6, 6, 4, 6, 4, 4, 2, 6, 4, 4, 2, 4, 2, 2, 0);
  return look_up(ones, products) + look_up(ones, products >> 4) + look_up(twice_less, negative) +
         look_up(twice_less, negative >> 4);
#elif defined(__GNUC__) && defined(TERNZIP_NEON)
  const uint8x16_t minus = vcntq_u8((uint8x16_t)negative);
  return (Words)vsubq_u8(vaddq_u8(vcntq_u8((uint8x16_t)products), vdupq_n_u8(16)), vaddq_u8(minus, minus));
#else
  const auto of_two = [](const Words& v) { return v - (v >> 1 & 0x55555555u); };
  const auto of_four = [](const Words& v) { return (v & 0x33333333u) + (v >> 2 & 0x33333333u); };
  const Words four = of_four(of_two(products)) + 0x88888888u - (of_four(of_two(negative)) << 1);
  return (four & 0x0f0f0f0fu) + (four >> 4 & 0x0f0f0f0fu);
#endif
}

TERNZIP_INLINE void add(const Words& products, const Words& negative, Sums& sums) {
  sums.counts += count(products, negative);
}
TERNZIP_INLINE void flush(Sums& sums) {
  const Words pairs = (sums.counts & 0x00ff00ffu) + (sums.counts >> 8 & 0x00ff00ffu);
  sums.total += (pairs & 0xffffu) + (pairs >> 16);
  sums.counts = Words{};
}
#endif

// One vector of rows, N pixels.
template <std::size_t N>
TERNZIP_INLINE void sum_vector(const std::uint32_t* weights, const std::uint32_t* const* inputs,
                               std::size_t taps, std::size_t words, std::size_t stride, float* sums) {
  Sums sum[N] = {};
  std::size_t counted = 0;
  for (std::size_t tap = 0; tap < taps; ++tap, inputs += kSumPixels) {
    for (std::size_t word = 0; word < words; ++word, weights += 2 * kSumRows) {
      if (counted == kMostWords) {
        for (std::size_t p = 0; p < N; ++p) flush(sum[p]);
        counted = 0;
      }
      ++counted;
      const Words mask = load(weights), signs = load(weights + kSumRows);
      for (std::size_t p = 0; p < N; ++p) {
        const Words products = mask & inputs[p][2 * word];
        add(products, products & (signs ^ inputs[p][2 * word + 1]), sum[p]);
      }
    }
  }
  const std::uint32_t bias = kBias * static_cast<std::uint32_t>(taps * words);
  for (std::size_t p = 0; p < N; ++p) {
    flush(sum[p]);
    const Words exact = sum[p].total - bias;
    for (std::size_t r = 0; r < kWidth; ++r) {
      sums[r * stride + p] = static_cast<float>(static_cast<std::int32_t>(lane(exact, r)));
    }
  }
}

template <std::size_t N>
void sum_rows(const std::uint32_t* weights, const std::uint32_t* const* inputs, std::size_t taps,
              std::size_t words, std::size_t stride, float* sums) {
  for (std::size_t row = 0; row < kSumRows; row += kWidth) {
    sum_vector<N>(weights + row, inputs, taps, words, stride, sums + row * stride);
  }
}

void sum(const std::uint32_t* weights, const std::uint32_t* const* inputs, std::size_t taps,
         std::size_t words, std::size_t pixels, std::size_t stride, float* sums) {
  while (pixels >= kPixelsAtOnce) {
    sum_rows<kPixelsAtOnce>(weights, inputs, taps, words, stride, sums);
    inputs += kPixelsAtOnce;
    sums += kPixelsAtOnce;
    pixels -= kPixelsAtOnce;
  }
  for (; pixels > 0; --pixels) sum_rows<1>(weights, inputs++, taps, words, stride, sums++);
}

// --- packing -----------------------------------------------------------------------------------------------

// All ones in the lanes where a < b.
TERNZIP_INLINE Words less(const Floats& a, const Floats& b) {
#if defined(__GNUC__)
  return (Words)(a < b);
#else
  return a < b ? ~0u : 0u;
#endif
}
TERNZIP_INLINE Words is_nan(const Floats& a) {
#if defined(__GNUC__)
  return (Words)(a != a);
#else
  return a != a ? ~0u : 0u;
#endif
}

std::uint32_t pack(const float* x, std::size_t step, std::size_t channels, float threshold,
                   std::uint32_t* masks, std::uint32_t* signs) {
  const Floats upper = Floats{} + threshold, lower = Floats{} - threshold;
  std::uint32_t nans = 0;
  for (std::size_t p = 0; p < kPackPixels; p += kWidth) {
    Words mask{}, sign{}, nan{};
    for (std::size_t c = 0; c < channels; ++c) {
      const Floats v = load(x + c * step + p);
      const Words negative = less(v, lower), bit = all(std::uint32_t{1} << c);
      mask |= (negative | less(upper, v)) & bit;
      sign |= negative & bit;
      nan |= is_nan(v);
    }
    store(masks + p, mask);
    store(signs + p, sign);
    for (std::size_t i = 0; i < kWidth; ++i) nans |= (lane(nan, i) & 1u) << (p + i);
  }
  return nans;
}

}  // namespace

extern const BitwiseKernels TERNZIP_TABLE(kBitwise) = {pack, sum};

}  // namespace ternzip
