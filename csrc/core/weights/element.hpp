// What happens to one element, for the CPU kernels and the CUDA ones alike.
//
// Floating-point values are compared as integers. For the bits x of an IEEE-like value (sign, then
// magnitude) the key below orders like the value; a NaN's magnitude lies beyond infinity's. So float16,
// bfloat16, float32 and float64 differ in width only, nothing is converted, and neither denormals nor the
// processor's flush-to-zero mode can change a result. Integers are their own keys (mask 0).
//
// Everything here is static: see core/simd/isa_source.hpp.
#pragma once

#include <cstdint>

#include "core/base/compiler.hpp"

namespace ternzip {

template <class UInt>
struct SignedOf;
template <>
struct SignedOf<std::uint8_t> {
  using type = std::int8_t;
};
template <>
struct SignedOf<std::uint16_t> {
  using type = std::int16_t;
};
template <>
struct SignedOf<std::uint32_t> {
  using type = std::int32_t;
};
template <>
struct SignedOf<std::uint64_t> {
  using type = std::int64_t;
};

// One ternarizer for elements of one width. Made by make_ternarizer (ternarizer.hpp), which turns +0 into
// the key of -0 for `lo`, the reverse for `hi`, and a NaN threshold into one that nothing passes.
template <class UInt>
struct Ternarizer {
  using Key = typename SignedOf<UInt>::type;
  Key lo, hi;               // keys of the thresholds
  UInt negative, positive;  // patterns of the levels
  UInt mask;                // of the magnitude; 0 for integers
  UInt largest;             // magnitude of infinity; what lies above is NaN
};

// At most one of the three is all ones, the others are 0: masks, because compilers vectorize them everywhere.
template <class UInt>
struct Symbol {
  UInt negative, positive, invalid;
};

template <class UInt>
TERNZIP_ELEMENT UInt mask_if(bool condition) {
  return condition ? static_cast<UInt>(~UInt{0}) : UInt{0};
}

template <class UInt>
TERNZIP_ELEMENT typename SignedOf<UInt>::type order_key(UInt bits, UInt mask) {
  using Key = typename SignedOf<UInt>::type;
  const auto sign = static_cast<UInt>(static_cast<Key>(bits) >> (8 * sizeof(UInt) - 1));
  return static_cast<Key>(static_cast<UInt>(bits ^ static_cast<UInt>(sign & mask)));
}

template <class UInt>
TERNZIP_ELEMENT Symbol<UInt> classify(UInt bits, const Ternarizer<UInt>& t) {
  const typename SignedOf<UInt>::type key = order_key<UInt>(bits, t.mask);
  const UInt invalid = mask_if<UInt>(static_cast<UInt>(bits & t.mask) > t.largest);
  const auto positive = static_cast<UInt>(mask_if<UInt>(key > t.hi) & ~invalid);
  const auto negative = static_cast<UInt>(mask_if<UInt>(key < t.lo) & ~invalid & ~positive);
  return {negative, positive, invalid};
}

// A NaN is handed through with its payload.
template <class UInt>
TERNZIP_ELEMENT UInt level_of(UInt bits, const Symbol<UInt>& symbol, const Ternarizer<UInt>& t) {
  return static_cast<UInt>((t.negative & symbol.negative) | (t.positive & symbol.positive) |
                           (bits & symbol.invalid));
}

template <class UInt>
TERNZIP_ELEMENT std::int8_t trit_of(const Symbol<UInt>& symbol) {
  return static_cast<std::int8_t>(static_cast<std::uint8_t>(symbol.negative | (symbol.positive & 1u)));
}

// All ones where |w| exceeds the bound; a NaN does not.
template <class UInt>
TERNZIP_ELEMENT UInt exceeds(UInt bits, UInt bound, UInt mask, UInt largest) {
  const auto magnitude = static_cast<UInt>(bits & mask);
  return static_cast<UInt>(mask_if<UInt>(magnitude > bound) & mask_if<UInt>(magnitude <= largest));
}

template <class UInt>
TERNZIP_ELEMENT UInt clipped(UInt bits, UInt bound, UInt mask, UInt largest) {
  const auto saturated = static_cast<UInt>((bits & ~mask) | bound);
  const UInt over = exceeds<UInt>(bits, bound, mask, largest);
  return static_cast<UInt>((saturated & over) | (bits & ~over));
}

// The straight-through estimator: the gradient's bits where the magnitude is at most `limit`, else +0. The
// limit says which estimator: the bound's magnitude (closed), one less (open), infinity's (identity).
template <class UInt>
TERNZIP_ELEMENT UInt passed(UInt grad, UInt bits, UInt mask, typename SignedOf<UInt>::type limit) {
  const auto magnitude = static_cast<typename SignedOf<UInt>::type>(static_cast<UInt>(bits & mask));
  return static_cast<UInt>(grad & mask_if<UInt>(magnitude <= limit));
}

template <class Float, class UInt>
TERNZIP_ELEMENT Float as_float(UInt bits) {
  static_assert(sizeof(Float) == sizeof(UInt));
  return __builtin_bit_cast(Float, bits);
}
template <class UInt, class Float>
TERNZIP_ELEMENT UInt as_bits(Float value) {
  static_assert(sizeof(Float) == sizeof(UInt));
  return __builtin_bit_cast(UInt, value);
}

// The scaled estimator: the gradient times the magnitude of the level taken, +0 at a NaN weight.
template <class Float, class UInt>
TERNZIP_ELEMENT UInt scaled(UInt grad, UInt bits, const Ternarizer<UInt>& t) {
  const Symbol<UInt> symbol = classify<UInt>(bits, t);
  const Float value = as_float<Float>(grad);
  const UInt low = as_bits<UInt>(value * -as_float<Float>(t.negative)) & symbol.negative;
  const UInt high = as_bits<UInt>(value * as_float<Float>(t.positive)) & symbol.positive;
  return low | high | (grad & ~(symbol.negative | symbol.positive | symbol.invalid));
}

// Elements to double, exactly, by dtype. Functions of a tag: those of a class would not be static.
struct Float64 {
  using UInt = std::uint64_t;
};
struct Float32 {
  using UInt = std::uint32_t;
};
struct BFloat16 {
  using UInt = std::uint16_t;
};
struct Float16 {
  using UInt = std::uint16_t;
};

TERNZIP_ELEMENT double widen(Float64, std::uint64_t bits) { return as_float<double>(bits); }
TERNZIP_ELEMENT double widen(Float32, std::uint32_t bits) {
  return static_cast<double>(as_float<float>(bits));
}
TERNZIP_ELEMENT double widen(BFloat16, std::uint16_t bits) {
  return static_cast<double>(as_float<float>(static_cast<std::uint32_t>(bits) << 16));
}
TERNZIP_ELEMENT double widen(Float16, std::uint16_t bits) {
  // Shifted into a float's fields the value is 2^-112 of what it should be, denormals included; infinity and
  // NaN need the largest exponent put in.
  const std::uint32_t magnitude = static_cast<std::uint32_t>(bits & 0x7fffu) << 13;
  const std::uint32_t finite = as_bits<std::uint32_t>(as_float<float>(magnitude) * 0x1p112f);
  const std::uint32_t value = magnitude >= 0x0f800000u ? (magnitude | 0x7f800000u) : finite;
  return static_cast<double>(as_float<float>(value | static_cast<std::uint32_t>(bits & 0x8000u) << 16));
}

// Sums of gradients over the elements at each level.
struct LevelSums {
  double negative, positive;
};

// The sums are part of the result, so their order is fixed: this many elements a block, dealt to the lanes in
// turn; the lanes of a block are added in order, then the blocks.
constexpr unsigned kLevelBlock = 8192;
constexpr unsigned kLevelLanes = 8;

template <class Type>
TERNZIP_ELEMENT void add_level(LevelSums& sums, typename Type::UInt grad, typename Type::UInt bits,
                               const Ternarizer<typename Type::UInt>& t) {
  const Symbol<typename Type::UInt> symbol = classify<typename Type::UInt>(bits, t);
  const double value = widen(Type{}, grad);
  sums.negative += symbol.negative != 0 ? value : 0.0;
  sums.positive += symbol.positive != 0 ? value : 0.0;
}

}  // namespace ternzip
