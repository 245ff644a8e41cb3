// From thresholds and levels as doubles to what the kernels compare with; for the host and for CUDA.
#pragma once

#include <cstdint>
#include <cstring>

#include "core/tensor/dtype.hpp"
#include "core/weights/element.hpp"

namespace ternzip {

// One ternarizer: q = positive if w > hi, negative if w < lo, w itself if it is a NaN, else +0.
struct Quantizer {
  double lo, hi, negative, positive;
};

// The straight-through estimators.
enum class Ste { kClosed = 0, kOpen = 1, kIdentity = 2, kScaled = 3 };

template <class To, class From>
TERNZIP_ELEMENT To same_bits(From from) noexcept {
  static_assert(sizeof(To) == sizeof(From));
  To to;
  memcpy(&to, &from, sizeof to);
  return to;
}

TERNZIP_ELEMENT std::uint64_t float16_bits(float value) noexcept {
  const auto bits = same_bits<std::uint32_t>(value);
  const std::uint32_t sign = bits >> 16 & 0x8000u;
  const std::uint32_t magnitude = bits & 0x7fffffffu;
  if (magnitude > 0x7f800000u) return sign | 0x7e00u;
  if (magnitude >= 0x477ff000u) return sign | 0x7c00u;  // 65520 and more round to infinity
  if (magnitude < 0x38800000u) {
    // A denormal result: adding 0.5 leaves the bits wanted, rounded to nearest even, in the low mantissa.
    const float shifted = same_bits<float>(magnitude) + 0.5f;
    return sign | (same_bits<std::uint32_t>(shifted) - 0x3f000000u);
  }
  const std::uint32_t odd = magnitude >> 13 & 1u;
  return sign | ((magnitude - 0x38000000u + 0xfffu + odd) >> 13);
}

TERNZIP_ELEMENT std::uint64_t bfloat16_bits(float value) noexcept {
  const auto bits = same_bits<std::uint32_t>(value);
  if ((bits & 0x7fffffffu) > 0x7f800000u) return 0x7fc0u;
  return (bits + 0x7fffu + (bits >> 16 & 1u)) >> 16;
}

// The pattern of a double rounded to one of the four weight dtypes; through float for 16 bits, as in aten.
TERNZIP_ELEMENT std::uint64_t rounded_bits(double value, DType dtype) noexcept {
  switch (dtype) {
    case DType::kFloat64: return same_bits<std::uint64_t>(value);
    case DType::kFloat32: return same_bits<std::uint32_t>(static_cast<float>(value));
    case DType::kFloat16: return float16_bits(static_cast<float>(value));
    case DType::kBFloat16: return bfloat16_bits(static_cast<float>(value));
    default: return 0;
  }
}

TERNZIP_ELEMENT Format format_of(DType dtype) noexcept {
  Format format{};
  format_of(static_cast<int>(dtype), format);
  return format;
}

template <class UInt>
using KeyOf = typename SignedOf<UInt>::type;

// A NaN threshold becomes a key that nothing passes. Both zeros lie between the thresholds 0 and -0: `lo`
// counts as -0, `hi` as +0.
template <class UInt>
TERNZIP_ELEMENT KeyOf<UInt> threshold_key(double value, DType dtype, bool low) noexcept {
  constexpr auto kLowest = static_cast<UInt>(UInt{1} << (8 * sizeof(UInt) - 1));
  const Format format = format_of(dtype);
  const auto bits = static_cast<UInt>(rounded_bits(value, dtype));
  if (is_nan(format, bits)) return static_cast<KeyOf<UInt>>(low ? kLowest : static_cast<UInt>(~kLowest));
  if ((bits & format.magnitude) == 0) return static_cast<KeyOf<UInt>>(low ? -1 : 0);
  return order_key<UInt>(bits, static_cast<UInt>(format.magnitude));
}

template <class UInt>
TERNZIP_ELEMENT Ternarizer<UInt> make_ternarizer(const Quantizer& q, DType dtype) noexcept {
  const Format format = format_of(dtype);
  Ternarizer<UInt> t{};
  t.mask = static_cast<UInt>(format.magnitude);
  t.largest = static_cast<UInt>(format.largest);
  t.lo = threshold_key<UInt>(q.lo, dtype, true);
  t.hi = threshold_key<UInt>(q.hi, dtype, false);
  t.negative = static_cast<UInt>(rounded_bits(q.negative, dtype));
  t.positive = static_cast<UInt>(rounded_bits(q.positive, dtype));
  return t;
}

// By sign: everything below zero is negative.
template <class UInt>
TERNZIP_ELEMENT Ternarizer<UInt> make_sign_counter(DType dtype) noexcept {
  const Format format = format_of(dtype);
  Ternarizer<UInt> t{};
  t.mask = static_cast<UInt>(format.magnitude);
  t.largest = static_cast<UInt>(format.largest);
  t.lo = t.mask != 0 ? KeyOf<UInt>{-1} : KeyOf<UInt>{0};
  return t;
}

}  // namespace ternzip
