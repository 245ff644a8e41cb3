// Compiled once per instruction set; see core/simd/isa_source.hpp for what may stand here.
#include "core/weights/kernels.hpp"

#include "core/simd/isa_source.hpp"

namespace ternzip {
namespace {

using U8 = std::uint8_t;
using U16 = std::uint16_t;
using U32 = std::uint32_t;
using U64 = std::uint64_t;

// Counters as wide as the elements vectorize without conversions; bytes need one step up.
template <class UInt>
struct Counter {
  using type = UInt;
};
template <>
struct Counter<U8> {
  using type = U16;
};

template <class UInt>
struct WeightCounter {
  using Count = typename Counter<UInt>::type;
  using Int = typename SignedOf<UInt>::type;  // a mask is -1
  Count negative = 0, positive = 0, invalid = 0;
  void add(const Symbol<UInt>& symbol) {
    negative = static_cast<Count>(negative - static_cast<Count>(static_cast<Int>(symbol.negative)));
    positive = static_cast<Count>(positive - static_cast<Count>(static_cast<Int>(symbol.positive)));
    invalid = static_cast<Count>(invalid - static_cast<Count>(static_cast<Int>(symbol.invalid)));
  }
  WeightCounts counts() const {
    return {static_cast<U32>(negative), static_cast<U32>(positive), static_cast<U32>(invalid)};
  }
};

// Reads ahead of the hardware's own prefetchers, which do not keep up with two or three streams. The kernels
// go in strides so that the inner loops still vectorize.
constexpr std::size_t kStrideBytes = 512;

void prefetch(const void* p) {
#if defined(__GNUC__)
  constexpr std::size_t kAhead = 2048;
  for (std::size_t line = 0; line < kStrideBytes; line += 64) {
    __builtin_prefetch(static_cast<const char*>(p) + kAhead + line);
  }
#else
  (void)p;
#endif
}

// step(i) for i in [0, n), reading ahead of one array.
template <class UInt, class Step>
void for_each(const unaligned_t<UInt>* x, std::size_t n, const Step& step) {
  constexpr std::size_t kStride = kStrideBytes / sizeof(UInt);
  std::size_t i = 0;
  for (; i + kStride <= n; i += kStride) {
    prefetch(x + i);
    for (std::size_t j = 0; j < kStride; ++j) step(i + j);
  }
  for (; i < n; ++i) step(i);
}

template <class UInt>
WeightCounts ternarize(const void* w, std::size_t n, const Ternarizer<UInt>& ternarizer, void* out) {
  const Ternarizer<UInt> t = ternarizer;  // a copy cannot alias the output
  const auto* x = static_cast<const unaligned_t<UInt>*>(w);
  auto* y = static_cast<unaligned_t<UInt>*>(out);
  WeightCounter<UInt> counter;
  for_each<UInt>(x, n, [&](std::size_t i) {
    const UInt bits = x[i];
    const Symbol<UInt> symbol = classify<UInt>(bits, t);
    y[i] = level_of<UInt>(bits, symbol, t);
    counter.add(symbol);
  });
  return counter.counts();
}

template <class UInt>
WeightCounts ternarize_trits(const void* w, std::size_t n, const Ternarizer<UInt>& ternarizer,
                             std::int8_t* out) {
  const Ternarizer<UInt> t = ternarizer;
  const auto* x = static_cast<const unaligned_t<UInt>*>(w);
  WeightCounter<UInt> counter;
  for_each<UInt>(x, n, [&](std::size_t i) {
    const Symbol<UInt> symbol = classify<UInt>(x[i], t);
    out[i] = trit_of(symbol);
    counter.add(symbol);
  });
  return counter.counts();
}

template <class UInt>
WeightCounts count(const void* w, std::size_t n, const Ternarizer<UInt>& t) {
  const auto* x = static_cast<const unaligned_t<UInt>*>(w);
  WeightCounter<UInt> counter;
  for_each<UInt>(x, n, [&](std::size_t i) { counter.add(classify<UInt>(x[i], t)); });
  return counter.counts();
}

template <class UInt>
void clip(void* w, std::size_t n, UInt bound, UInt mask, UInt largest) {
  auto* x = static_cast<unaligned_t<UInt>*>(w);
  UInt any = 0;
  for_each<UInt>(
      x, n, [&](std::size_t i) { any = static_cast<UInt>(any | exceeds<UInt>(x[i], bound, mask, largest)); });
  if (any == 0) return;
  for (std::size_t i = 0; i < n; ++i) x[i] = clipped<UInt>(x[i], bound, mask, largest);
}

template <class UInt>
void backward(const void* grad, const void* w, std::size_t n, UInt mask, typename SignedOf<UInt>::type limit,
              void* out) {
  const auto* g = static_cast<const unaligned_t<UInt>*>(grad);
  const auto* x = static_cast<const unaligned_t<UInt>*>(w);
  auto* y = static_cast<unaligned_t<UInt>*>(out);
  constexpr std::size_t kStride = kStrideBytes / sizeof(UInt);
  std::size_t i = 0;
  for (; i + kStride <= n; i += kStride) {
    prefetch(g + i);
    prefetch(x + i);
    for (std::size_t j = 0; j < kStride; ++j) y[i + j] = passed<UInt>(g[i + j], x[i + j], mask, limit);
  }
  for (; i < n; ++i) y[i] = passed<UInt>(g[i], x[i], mask, limit);
}

template <class Float, class UInt>
void backward_scaled(const void* grad, const void* w, std::size_t n, const Ternarizer<UInt>& ternarizer,
                     void* out) {
  const Ternarizer<UInt> t = ternarizer;
  const auto* g = static_cast<const unaligned_t<UInt>*>(grad);
  const auto* x = static_cast<const unaligned_t<UInt>*>(w);
  auto* y = static_cast<unaligned_t<UInt>*>(out);
  for (std::size_t i = 0; i < n; ++i) y[i] = scaled<Float, UInt>(g[i], x[i], t);
}

template <class Type>
LevelSums level_sums(const void* grad, const void* w, std::size_t n, const void* ternarizer) {
  using UInt = typename Type::UInt;
  const auto t = *static_cast<const Ternarizer<UInt>*>(ternarizer);
  const auto* g = static_cast<const unaligned_t<UInt>*>(grad);
  const auto* x = static_cast<const unaligned_t<UInt>*>(w);
  LevelSums lanes[kLevelLanes] = {};
  std::size_t i = 0;
  for (; i + kLevelLanes <= n; i += kLevelLanes) {
    for (std::size_t lane = 0; lane < kLevelLanes; ++lane) {
      add_level<Type>(lanes[lane], g[i + lane], x[i + lane], t);
    }
  }
  for (std::size_t lane = 0; i < n; ++i, ++lane) add_level<Type>(lanes[lane], g[i], x[i], t);
  LevelSums sums{0.0, 0.0};
  for (const LevelSums& lane : lanes) {
    sums.negative += lane.negative;
    sums.positive += lane.positive;
  }
  return sums;
}

}  // namespace

extern const WeightKernels TERNZIP_TABLE(kWeights) = {
    {ternarize<U16>, ternarize_trits<U16>, count<U16>, clip<U16>, backward<U16>},
    {ternarize<U32>, ternarize_trits<U32>, count<U32>, clip<U32>, backward<U32>},
    {ternarize<U64>, ternarize_trits<U64>, count<U64>, clip<U64>, backward<U64>},
    count<U8>,
    backward_scaled<float, U32>,
    backward_scaled<double, U64>,
    {level_sums<Float64>, level_sums<Float32>, level_sums<Float16>, level_sums<BFloat16>},
};

}  // namespace ternzip
