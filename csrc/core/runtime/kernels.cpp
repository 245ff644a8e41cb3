// Compiled once per instruction set; see core/simd/isa_source.hpp for what may stand here.
#include "core/runtime/kernels.hpp"

#include "core/base/compiler.hpp"
#include "core/simd/isa_source.hpp"

#if defined(__AVX2__)
#include <immintrin.h>
#endif

namespace ternzip {
namespace {

// A vector as wide as a register, so that arrays of them stay in registers: compilers keep an array of
// plain floats in memory, and every addition would load and store its sum. Where a compiler has no such
// type, a short array does the same work more slowly.
#if defined(__AVX512F__)
constexpr std::size_t kWidth = 16;
constexpr std::size_t kVectors = 8;
constexpr std::size_t kTilesAtOnce = 8;
#elif defined(__AVX2__)
constexpr std::size_t kWidth = 8;
constexpr std::size_t kVectors = 8;
constexpr std::size_t kTilesAtOnce = 2;
#else
constexpr std::size_t kWidth = 4;
constexpr std::size_t kVectors = 8;
constexpr std::size_t kTilesAtOnce = 1;
#endif
static_assert(kWidth <= kPixelSlack && kTileRows % kWidth == 0);

#if defined(__GNUC__)
using Vector = float __attribute__((vector_size(kWidth * sizeof(float))));
using Words = std::uint32_t __attribute__((vector_size(kWidth * sizeof(float))));
// The attributes stand before the `=`: Clang ignores the alignment of a type behind it.
using UnalignedVector __attribute__((aligned(sizeof(float)), may_alias)) = Vector;
using UnalignedWords __attribute__((aligned(sizeof(float)), may_alias)) = Words;

TERNZIP_INLINE Vector load(const float* p) { return *reinterpret_cast<const UnalignedVector*>(p); }
TERNZIP_INLINE Words load(const std::uint32_t* p) { return *reinterpret_cast<const UnalignedWords*>(p); }
TERNZIP_INLINE void store(float* p, const Vector& v) { *reinterpret_cast<UnalignedVector*>(p) = v; }

#else
template <class T>
struct Lanes {
  T lane[kWidth];
  T& operator[](std::size_t i) { return lane[i]; }
  T operator[](std::size_t i) const { return lane[i]; }
  void operator+=(const Lanes& other) {
    for (std::size_t i = 0; i < kWidth; ++i) lane[i] += other.lane[i];
  }
  void operator-=(const Lanes& other) {
    for (std::size_t i = 0; i < kWidth; ++i) lane[i] -= other.lane[i];
  }
  void operator*=(T factor) {
    for (std::size_t i = 0; i < kWidth; ++i) lane[i] *= factor;
  }
  void operator*=(const Lanes& other) {
    for (std::size_t i = 0; i < kWidth; ++i) lane[i] *= other.lane[i];
  }
  void operator>>=(int bits) {
    for (std::size_t i = 0; i < kWidth; ++i) lane[i] >>= bits;
  }
  Lanes operator^(T bits) const {
    Lanes turned = *this;
    for (std::size_t i = 0; i < kWidth; ++i) turned.lane[i] ^= bits;
    return turned;
  }
};
using Vector = Lanes<float>;
using Words = Lanes<std::uint32_t>;

template <class T>
TERNZIP_INLINE Lanes<T> load(const T* p) {
  Lanes<T> v{};
  for (std::size_t i = 0; i < kWidth; ++i) v[i] = p[i];
  return v;
}
TERNZIP_INLINE void store(float* p, const Vector& v) {
  for (std::size_t i = 0; i < kWidth; ++i) p[i] = v[i];
}
#endif

// --- lists -------------------------------------------------------------------------------------------------

template <std::size_t N>
void accumulate_vectors(const float* base, const std::int32_t* offsets, const RowLists& lists, bool first,
                        float* acc) {
  for (std::size_t r = 0; r < lists.rows; ++r, acc += kVectors * kWidth) {
    const std::uint16_t* code = lists.codes + lists.starts[2 * r];
    const std::uint16_t* const minus = lists.codes + lists.starts[2 * r + 1];
    const std::uint16_t* const end = lists.codes + lists.starts[2 * r + 2];
    Vector sum[N] = {};
    for (; code != minus; ++code) {
      const float* const p = base + offsets[*code];
      for (std::size_t i = 0; i < N; ++i) sum[i] += load(p + i * kWidth);
    }
    for (std::size_t i = 0; i < N; ++i) sum[i] *= lists.ratios[r];
    for (; code != end; ++code) {
      const float* const p = base + offsets[*code];
      for (std::size_t i = 0; i < N; ++i) sum[i] -= load(p + i * kWidth);
    }
    for (std::size_t i = 0; i < N; ++i) {
      if (!first) sum[i] += load(acc + i * kWidth);
      store(acc + i * kWidth, sum[i]);
    }
  }
}

void accumulate(const float* base, const std::int32_t* offsets, const RowLists& lists, std::size_t pixels,
                bool first, float* acc) {
  switch ((pixels + kWidth - 1) / kWidth) {
    case 1: return accumulate_vectors<1>(base, offsets, lists, first, acc);
    case 2: return accumulate_vectors<2>(base, offsets, lists, first, acc);
    case 3: return accumulate_vectors<3>(base, offsets, lists, first, acc);
    case 4: return accumulate_vectors<4>(base, offsets, lists, first, acc);
    case 5: return accumulate_vectors<5>(base, offsets, lists, first, acc);
    case 6: return accumulate_vectors<6>(base, offsets, lists, first, acc);
    case 7: return accumulate_vectors<7>(base, offsets, lists, first, acc);
    default: return accumulate_vectors<kVectors>(base, offsets, lists, first, acc);
  }
}

// --- dense weights -----------------------------------------------------------------------------------------

// Rows that share what is loaded, and vectors of pixels that share a weight: as many sums as fit registers.
#if defined(__AVX512F__)
constexpr std::size_t kRowsTogether = 4;
constexpr std::size_t kVectorsTogether = 4;
#else
constexpr std::size_t kRowsTogether = 4;
constexpr std::size_t kVectorsTogether = 2;
#endif

template <std::size_t kRows, std::size_t N>
void accumulate_tile(const float* base, const std::int32_t* offsets, const RowWeights& rows, bool first,
                     float* acc) {
  Vector sum[kRows][N] = {};
  for (std::size_t n = 0; n < rows.count; ++n) {
    const float* const p = base + offsets[n];
    Vector x[N];
    for (std::size_t i = 0; i < N; ++i) x[i] = load(p + i * kWidth);
    for (std::size_t r = 0; r < kRows; ++r) {
      const float weight = rows.weights[r * rows.stride + n];
      for (std::size_t i = 0; i < N; ++i) {
        Vector product = x[i];
        product *= weight;
        sum[r][i] += product;
      }
    }
  }
  for (std::size_t r = 0; r < kRows; ++r) {
    float* const to = acc + r * kVectors * kWidth;
    for (std::size_t i = 0; i < N; ++i) {
      if (!first) sum[r][i] += load(to + i * kWidth);
      store(to + i * kWidth, sum[r][i]);
    }
  }
}

template <std::size_t kRows>
void accumulate_rows(const float* base, const std::int32_t* offsets, const RowWeights& rows,
                     std::size_t vectors, bool first, float* acc) {
  while (vectors > 0) {
    const std::size_t n = vectors < kVectorsTogether ? 1 : kVectorsTogether;
    (n == 1 ? accumulate_tile<kRows, 1> : accumulate_tile<kRows, kVectorsTogether>)(base, offsets, rows,
                                                                                    first, acc);
    base += n * kWidth;
    acc += n * kWidth;
    vectors -= n;
  }
}

void accumulate_products(const float* base, const std::int32_t* offsets, const RowWeights& weights,
                         std::size_t pixels, bool first, float* acc) {
  const std::size_t vectors = (pixels + kWidth - 1) / kWidth;
  RowWeights rows = weights;
  while (rows.rows > 0) {
    const std::size_t n = rows.rows < kRowsTogether ? 1 : kRowsTogether;
    (n == 1 ? accumulate_rows<1> : accumulate_rows<kRowsTogether>)(base, offsets, rows, vectors, first, acc);
    rows.weights += n * rows.stride;
    rows.rows -= n;
    acc += n * kVectors * kWidth;
  }
}

// --- epilogue ----------------------------------------------------------------------------------------------

TERNZIP_INLINE float clamped(float y, const Epilogue& e) {
  y = y < e.lowest ? e.lowest : y;
  return y > e.highest ? e.highest : y;
}

void finish(const float* sums, std::size_t n, const Epilogue& epilogue, const float* residual, float* out) {
  const Epilogue e = epilogue;  // a copy cannot alias the output
  if (residual == nullptr) {
    for (std::size_t i = 0; i < n; ++i) out[i] = clamped(sums[i] * e.scale + e.bias, e);
    return;
  }
  for (std::size_t i = 0; i < n; ++i) {
    out[i] = clamped(sums[i] * e.scale + e.bias + residual[i] * e.residual_scale, e);
  }
}

union Bits {
  std::uint32_t u;
  float f;
};

TERNZIP_INLINE float widened(std::uint16_t bfloat16) {
  const Bits bits{static_cast<std::uint32_t>(bfloat16) << 16};
  return bits.f;
}

// To the nearest, ties to even; every NaN becomes the quiet one that torch writes.
TERNZIP_INLINE std::uint16_t narrowed(float value) {
  Bits bits{};
  bits.f = value;
  const std::uint32_t rounded = (bits.u + 0x7fffu + (bits.u >> 16 & 1u)) >> 16;
  return static_cast<std::uint16_t>((bits.u & 0x7fffffffu) > 0x7f800000u ? 0x7fc0u : rounded);
}

void finish_bfloat16(const float* sums, std::size_t n, const Epilogue& epilogue,
                     const std::uint16_t* residual, std::uint16_t* out) {
  const Epilogue e = epilogue;
  if (residual == nullptr) {
    for (std::size_t i = 0; i < n; ++i) out[i] = narrowed(clamped(sums[i] * e.scale + e.bias, e));
    return;
  }
  for (std::size_t i = 0; i < n; ++i) {
    out[i] = narrowed(clamped(sums[i] * e.scale + e.bias + widened(residual[i]) * e.residual_scale, e));
  }
}

// --- tables ------------------------------------------------------------------------------------------------

constexpr std::size_t kTileVectors = kTileRows / kWidth;

// Lane by lane, the sum that the lowest four bits of a code choose.
TERNZIP_INLINE Vector chosen(const float* table, const Words& codes) {
#if defined(__GNUC__) && defined(__AVX512F__)
  return (Vector)_mm512_permutexvar_ps((__m512i)codes, (__m512)load(table));
#elif defined(__GNUC__) && defined(__AVX2__)
  const __m256 low = _mm256_permutevar8x32_ps((__m256)load(table), (__m256i)codes);
  const __m256 high = _mm256_permutevar8x32_ps((__m256)load(table + kWidth), (__m256i)codes);
  return (Vector)_mm256_blendv_ps(low, high, (__m256)(codes << 28));
#else
  Vector sums{};
  for (std::size_t i = 0; i < kWidth; ++i) sums[i] = table[codes[i] & 15u];
  return sums;
#endif
}

template <std::size_t kTiles, bool kBothLevels>
void look_up_tiles(const float* table, const Lookups& lookups, float* sums) {
  constexpr std::size_t kCount = kTiles * kTileVectors;
  const std::size_t tile_words = lookups.groups * lookups.words * kTileRows;
  const float *positives = lookups.positives, *negatives = lookups.negatives;
  const std::uint32_t* word = lookups.codes;
  Vector total[kCount] = {};
  for (std::size_t g = 0; g < lookups.groups; ++g) {
    Vector plus[kCount] = {}, minus[kCount] = {};
    for (std::size_t w = 0; w < lookups.words; ++w, word += kTileRows) {
      Words codes[kCount];
      for (std::size_t i = 0; i < kCount; ++i) {
        codes[i] = load(word + i / kTileVectors * tile_words + i % kTileVectors * kWidth);
      }
      for (std::size_t pair = 0; pair < kWordInputs / 2; ++pair, table += kTableSums) {
        for (std::size_t i = 0; i < kCount; ++i) {
          plus[i] += chosen(table, codes[i]);
          if (kBothLevels) minus[i] += chosen(table, codes[i] ^ 8u);
          codes[i] >>= 4;
        }
      }
    }
    for (std::size_t i = 0; i < kCount; ++i) {
      plus[i] *= load(positives + i * kWidth);
      total[i] += plus[i];
      if (!kBothLevels) continue;
      minus[i] *= load(negatives + i * kWidth);
      total[i] += minus[i];
    }
    positives += lookups.level_rows;
    if (kBothLevels) negatives += lookups.level_rows;
  }
  for (std::size_t i = 0; i < kCount; ++i) store(sums + i * kWidth, total[i]);
}

template <std::size_t kTiles, bool kBothLevels>
void look_up_all(const float* tables, Lookups lookups, std::size_t tiles, float* sums) {
  const std::size_t tile_words = lookups.groups * lookups.words * kTileRows;
  while (tiles > 0) {
    const std::size_t n = tiles < kTiles ? 1 : kTiles;
    (n == 1 ? look_up_tiles<1, kBothLevels> : look_up_tiles<kTiles, kBothLevels>)(tables, lookups, sums);
    lookups.codes += n * tile_words;
    lookups.positives += n * kTileRows;
    if (kBothLevels) lookups.negatives += n * kTileRows;
    sums += n * kTileRows;
    tiles -= n;
  }
}

void look_up(const float* tables, const Lookups& lookups, std::size_t tiles, float* sums) {
  if (lookups.negatives == nullptr) return look_up_all<kTilesAtOnce, false>(tables, lookups, tiles, sums);
  look_up_all<(kTilesAtOnce + 1) / 2, true>(tables, lookups, tiles, sums);
}

}  // namespace

extern const RuntimeKernels TERNZIP_TABLE(kRuntime) = {
    kVectors * kWidth, accumulate, accumulate_products, finish, finish_bfloat16, look_up,
};

}  // namespace ternzip
