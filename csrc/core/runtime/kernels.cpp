// Compiled once per instruction set; see core/simd/isa_source.hpp for what may stand here.
#include "core/runtime/kernels.hpp"

#include "core/base/compiler.hpp"
#include "core/simd/isa_source.hpp"

#if defined(__AVX512F__)
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
constexpr std::size_t kRowsAtOnce = 8;
#elif defined(__AVX2__)
constexpr std::size_t kWidth = 8;
constexpr std::size_t kVectors = 8;
constexpr std::size_t kRowsAtOnce = 2;
#else
constexpr std::size_t kWidth = 4;
constexpr std::size_t kVectors = 8;
constexpr std::size_t kRowsAtOnce = 1;
#endif
static_assert(kWidth <= kPixelSlack && kPlaneRows % kRowsAtOnce == 0);

#if defined(__GNUC__)
using Vector = float __attribute__((vector_size(kWidth * sizeof(float))));
using Words = std::uint32_t __attribute__((vector_size(kWidth * sizeof(float))));
// The attributes stand before the `=`: Clang ignores the alignment of a type behind it.
using UnalignedVector __attribute__((aligned(sizeof(float)), may_alias)) = Vector;

TERNZIP_INLINE Vector load(const float* p) { return *reinterpret_cast<const UnalignedVector*>(p); }
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
};
using Vector = Lanes<float>;
using Words = Lanes<std::uint32_t>;

TERNZIP_INLINE Vector load(const float* p) {
  Vector v{};
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

// --- bit planes --------------------------------------------------------------------------------------------

constexpr std::size_t kParts = kPlaneLanes / kWidth;  // vectors that hold the lanes of one sum

struct PlaneSum {
  Vector part[kParts] = {};

  // The lanes added up in pairs, in the same order everywhere.
  float total() const {
    float lanes[kPlaneLanes];
    for (std::size_t i = 0; i < kParts; ++i) store(lanes + i * kWidth, part[i]);
    for (std::size_t half = kPlaneLanes / 2; half > 0; half /= 2) {
      for (std::size_t i = 0; i < half; ++i) lanes[i] += lanes[i + half];
    }
    return lanes[0];
  }
};

// The bit of each lane in the part number `step` of a word's inputs.
constexpr std::size_t kSteps = kPlaneWord / kWidth;

struct LaneBits {
  Words step[kSteps];

  LaneBits() {
    for (std::size_t i = 0; i < kPlaneWord; ++i) step[i / kWidth][i % kWidth] = 1u << i;
  }
};

// Adds x in the lanes whose bit is set in the word at `bits`. A lane that is left out keeps its sum, which is
// the same as adding +0: a sum that starts at +0 never becomes -0.
TERNZIP_INLINE void add_chosen(Vector& sum, const Vector& x, const std::uint32_t* bits, std::size_t step,
                               const LaneBits& lane_bits) {
#if defined(__AVX512F__)
  // One instruction, which compilers do not make of the general form.
  (void)lane_bits;
  const auto mask = reinterpret_cast<const unaligned_t<std::uint16_t>*>(bits)[step];
  sum = _mm512_mask_add_ps(sum, mask, sum, x);
#elif defined(__GNUC__)
  const Words& own = lane_bits.step[step];
  sum += (Vector)((Words)x & (Words)((own & *bits) == own));
#else
  for (std::size_t i = 0; i < kWidth; ++i) {
    sum[i] += (*bits & lane_bits.step[step][i]) != 0 ? x[i] : 0.0f;
  }
#endif
}

void sum_planes(const float* x, std::size_t words, const std::uint32_t* planes, float* sums) {
  const LaneBits lane_bits;
  for (std::size_t first = 0; first < kPlaneRows; first += kRowsAtOnce) {
    PlaneSum plus[kRowsAtOnce], minus[kRowsAtOnce];
    const std::uint32_t* pair = planes + 2 * first;
    for (std::size_t w = 0; w < words; ++w, pair += 2 * kPlaneRows) {
      for (std::size_t step = 0; step < kSteps; ++step) {
        const Vector v = load(x + w * kPlaneWord + step * kWidth);
        for (std::size_t r = 0; r < kRowsAtOnce; ++r) {
          add_chosen(plus[r].part[step % kParts], v, pair + 2 * r, step, lane_bits);
          add_chosen(minus[r].part[step % kParts], v, pair + 2 * r + 1, step, lane_bits);
        }
      }
    }
    for (std::size_t r = 0; r < kRowsAtOnce; ++r) {
      sums[2 * (first + r)] = plus[r].total();
      sums[2 * (first + r) + 1] = minus[r].total();
    }
  }
}

}  // namespace

extern const RuntimeKernels TERNZIP_TABLE(kRuntime) = {
    kVectors * kWidth, accumulate, finish, finish_bfloat16, sum_planes,
};

}  // namespace ternzip
