// Compiled once per instruction set; see core/simd/isa_source.hpp for what may stand here.
#include "core/tensor/scan_kernels.hpp"

#include "core/simd/isa_source.hpp"

namespace ternzip {
namespace {

// Counters as wide as the elements vectorize without conversions; bytes need one step up.
template <class UInt>
struct Counter {
  using type = UInt;
};
template <>
struct Counter<std::uint8_t> {
  using type = std::uint16_t;
};

template <class UInt>
PatternCounts match(const void* src, std::size_t n, std::uint64_t negative_bits, std::uint64_t positive_bits,
                    std::uint64_t negative_zero_bits) {
  using Count = typename Counter<UInt>::type;
  const auto* x = static_cast<const unaligned_t<UInt>*>(src);
  const auto negative = static_cast<UInt>(negative_bits);
  const auto positive = static_cast<UInt>(positive_bits);
  const auto negative_zero = static_cast<UInt>(negative_zero_bits);
  Count n_negative = 0, n_positive = 0, n_zero = 0, n_negative_zero = 0;
  for (std::size_t i = 0; i < n; ++i) {
    const UInt bits = x[i];
    n_negative = static_cast<Count>(n_negative + (bits == negative ? 1 : 0));
    n_positive = static_cast<Count>(n_positive + (bits == positive ? 1 : 0));
    n_zero = static_cast<Count>(n_zero + (bits == 0 ? 1 : 0));
    n_negative_zero = static_cast<Count>(n_negative_zero + (bits == negative_zero ? 1 : 0));
  }
  return {static_cast<std::uint32_t>(n_negative), static_cast<std::uint32_t>(n_positive),
          static_cast<std::uint32_t>(n_zero), static_cast<std::uint32_t>(n_negative_zero)};
}

#if defined(__GNUC__)
#if defined(__AVX2__)
constexpr std::size_t kByteVector = 32;
#else
constexpr std::size_t kByteVector = 16;
#endif

// Bytes are counted in bytes, which 255 vectors cannot overflow: compilers would widen them all.
template <>
PatternCounts match<std::uint8_t>(const void* src, std::size_t n, std::uint64_t negative_bits,
                                  std::uint64_t positive_bits, std::uint64_t negative_zero_bits) {
  constexpr std::size_t kWidth = kByteVector, kMostVectors = 255;
  using Bytes = std::uint8_t __attribute__((vector_size(kWidth)));
  using UnalignedBytes __attribute__((aligned(1), may_alias)) = Bytes;
  const auto* x = static_cast<const std::uint8_t*>(src);
  const auto negative = static_cast<std::uint8_t>(negative_bits);
  const auto positive = static_cast<std::uint8_t>(positive_bits);
  const auto negative_zero = static_cast<std::uint8_t>(negative_zero_bits);
  PatternCounts counts{};
  while (n >= kWidth) {
    Bytes n_negative{}, n_positive{}, n_zero{}, n_negative_zero{};
    for (std::size_t vector = 0; vector < kMostVectors && n >= kWidth; ++vector, x += kWidth, n -= kWidth) {
      const Bytes bits = *reinterpret_cast<const UnalignedBytes*>(x);
      n_negative -= reinterpret_cast<Bytes>(bits == negative);  // all ones where they are equal
      n_positive -= reinterpret_cast<Bytes>(bits == positive);
      n_zero -= reinterpret_cast<Bytes>(bits == 0);
      n_negative_zero -= reinterpret_cast<Bytes>(bits == negative_zero);
    }
    for (std::size_t i = 0; i < kWidth; ++i) {
      counts.negative += n_negative[i];
      counts.positive += n_positive[i];
      counts.zero += n_zero[i];
      counts.negative_zero += n_negative_zero[i];
    }
  }
  for (std::size_t i = 0; i < n; ++i) {
    counts.negative += x[i] == negative ? 1 : 0;
    counts.positive += x[i] == positive ? 1 : 0;
    counts.zero += x[i] == 0 ? 1 : 0;
    counts.negative_zero += x[i] == negative_zero ? 1 : 0;
  }
  return counts;
}
#endif

template <class UInt>
void extract(const void* src, std::size_t n, std::uint64_t negative_zero_bits, std::int8_t* trits) {
  const auto* x = static_cast<const unaligned_t<UInt>*>(src);
  const auto negative_zero = static_cast<UInt>(negative_zero_bits);
  constexpr UInt kTop = static_cast<UInt>(UInt{1} << (8 * sizeof(UInt) - 1));
  for (std::size_t i = 0; i < n; ++i) {
    const UInt bits = x[i];
    const int sign = (bits & kTop) != 0 ? -1 : 1;
    const int kept = bits == negative_zero ? 0 : sign;
    trits[i] = static_cast<std::int8_t>(bits == 0 ? 0 : kept);
  }
}

template <class UInt>
void expand(const std::int8_t* trits, std::size_t n, std::uint64_t negative_bits, std::uint64_t positive_bits,
            void* dst) {
  auto* y = static_cast<unaligned_t<UInt>*>(dst);
  const auto negative = static_cast<UInt>(negative_bits);
  const auto positive = static_cast<UInt>(positive_bits);
  for (std::size_t i = 0; i < n; ++i) {
    const std::int8_t trit = trits[i];
    const UInt level = trit < 0 ? negative : UInt{0};
    y[i] = trit > 0 ? positive : level;
  }
}

template <class UInt>
std::uint32_t zeros(const void* src, std::size_t n, std::uint64_t negative_zero_bits) {
  using Count = typename Counter<UInt>::type;
  const auto* x = static_cast<const unaligned_t<UInt>*>(src);
  const auto negative_zero = static_cast<UInt>(negative_zero_bits);
  Count count = 0;
  for (std::size_t i = 0; i < n; ++i) {
    const UInt bits = x[i];
    count = static_cast<Count>(count + ((bits == 0 || bits == negative_zero) ? 1 : 0));
  }
  return static_cast<std::uint32_t>(count);
}

// Two passes over each block, which stays in the first-level cache: the extremes are the levels if it has
// any, then nothing else may be there.
template <class UInt, class Int>
std::size_t block_levels(const void* src, std::size_t blocks, std::size_t width,
                         std::uint64_t negative_zero_bits, void* negative_levels, void* positive_levels) {
  const auto* x = static_cast<const unaligned_t<UInt>*>(src);
  auto* negatives = static_cast<unaligned_t<UInt>*>(negative_levels);
  auto* positives = static_cast<unaligned_t<UInt>*>(positive_levels);
  const auto negative_zero = static_cast<UInt>(negative_zero_bits);
  constexpr UInt kTop = static_cast<UInt>(UInt{1} << (8 * sizeof(UInt) - 1));
  for (std::size_t block = 0; block < blocks; ++block, x += width) {
    UInt most = 0;
    Int highest = 0;
    for (std::size_t i = 0; i < width; ++i) {
      const UInt bits = x[i];
      const auto value = static_cast<Int>(bits);
      most = bits > most ? bits : most;
      highest = value > highest ? value : highest;
    }
    // Without a level, zeros are what is looked for in its place.
    const UInt negative = (most & kTop) != 0 && most != negative_zero ? most : UInt{0};
    const auto positive = static_cast<UInt>(highest);
    UInt strays = 0;
    for (std::size_t i = 0; i < width; ++i) {
      const UInt bits = x[i];
      const bool known = (bits == 0) | (bits == negative_zero) | (bits == negative) | (bits == positive);
      strays = static_cast<UInt>(strays | (known ? 0 : 1));
    }
    if (strays != 0) return block;
    negatives[block] = negative;
    positives[block] = positive;
  }
  return blocks;
}

template <class UInt>
PatternCounts count_signs(const void* src, std::size_t n, std::uint64_t negative_zero_bits) {
  using Count = typename Counter<UInt>::type;
  const auto* x = static_cast<const unaligned_t<UInt>*>(src);
  const auto negative_zero = static_cast<UInt>(negative_zero_bits);
  constexpr UInt kTop = static_cast<UInt>(UInt{1} << (8 * sizeof(UInt) - 1));
  Count n_top = 0, n_zero = 0, n_negative_zero = 0;
  for (std::size_t i = 0; i < n; ++i) {
    const UInt bits = x[i];
    n_top = static_cast<Count>(n_top + ((bits & kTop) != 0 ? 1 : 0));
    n_zero = static_cast<Count>(n_zero + (bits == 0 ? 1 : 0));
    n_negative_zero = static_cast<Count>(n_negative_zero + (bits == negative_zero ? 1 : 0));
  }
  if (negative_zero == 0) n_negative_zero = 0;
  const auto zero = static_cast<std::uint32_t>(n_zero), minus = static_cast<std::uint32_t>(n_negative_zero);
  const std::uint32_t negative = static_cast<std::uint32_t>(n_top) - minus;
  return {negative, static_cast<std::uint32_t>(n) - negative - zero - minus, zero, minus};
}

using U8 = std::uint8_t;
using U16 = std::uint16_t;
using U32 = std::uint32_t;
using U64 = std::uint64_t;

}  // namespace

extern const ScanKernels TERNZIP_TABLE(kScan) = {
    {match<U8>, match<U16>, match<U32>, match<U64>},
    {extract<U8>, extract<U16>, extract<U32>, extract<U64>},
    {expand<U8>, expand<U16>, expand<U32>, expand<U64>},
    {zeros<U8>, zeros<U16>, zeros<U32>, zeros<U64>},
    {block_levels<U8, std::int8_t>, block_levels<U16, std::int16_t>, block_levels<U32, std::int32_t>,
     block_levels<U64, std::int64_t>},
    {count_signs<U8>, count_signs<U16>, count_signs<U32>, count_signs<U64>},
};

}  // namespace ternzip
