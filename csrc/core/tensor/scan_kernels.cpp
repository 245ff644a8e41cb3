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
};

}  // namespace ternzip
