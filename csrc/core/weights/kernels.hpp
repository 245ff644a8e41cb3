// The inner loops over weights: ternarize, count, clip, straight-through gradient. One table per
// instruction set, filled by kernels.cpp.
//
// Functions come by element width, in the members w16, w32 and w64. Pointers need no alignment; in and out do
// not overlap unless they are equal.
#pragma once

#include <cstddef>
#include <cstdint>

#include "core/weights/element.hpp"

namespace ternzip {

// Elements that one call may take, so that its 16-bit counters cannot overflow, and the fixed blocks in which
// gradients of levels are summed.
inline constexpr std::size_t kWeightBlock = kLevelBlock;

struct WeightCounts {
  std::uint32_t negative, positive, invalid;
};

template <class UInt>
struct WeightKernelsOf {
  WeightCounts (*ternarize)(const void* w, std::size_t n, const Ternarizer<UInt>& t, void* out);
  WeightCounts (*ternarize_trits)(const void* w, std::size_t n, const Ternarizer<UInt>& t, std::int8_t* out);
  WeightCounts (*count)(const void* w, std::size_t n, const Ternarizer<UInt>& t);
  // Writes nothing where nothing exceeds the bound, so that the cache line stays clean.
  void (*clip)(void* w, std::size_t n, UInt bound, UInt mask, UInt largest);
  void (*backward)(const void* grad, const void* w, std::size_t n, UInt mask,
                   typename SignedOf<UInt>::type limit, void* out);
};

struct WeightKernels {
  WeightKernelsOf<std::uint16_t> w16;
  WeightKernelsOf<std::uint32_t> w32;
  WeightKernelsOf<std::uint64_t> w64;
  WeightCounts (*count8)(const void* w, std::size_t n, const Ternarizer<std::uint8_t>& t);
  // grad times the magnitude of the level taken, 0 at a NaN.
  void (*backward_scaled32)(const void* grad, const void* w, std::size_t n,
                            const Ternarizer<std::uint32_t>& t, void* out);
  void (*backward_scaled64)(const void* grad, const void* w, std::size_t n,
                            const Ternarizer<std::uint64_t>& t, void* out);
  // Sums of grad over the elements at each level, in an order that depends on n alone. By dtype code 0..3,
  // with its Ternarizer.
  LevelSums (*level_sums[4])(const void* grad, const void* w, std::size_t n, const void* ternarizer);
};

// The table of the active instruction set (core/simd/isa.hpp).
const WeightKernels& weight_kernels() noexcept;

extern const WeightKernels kWeightsBaseline;
#if defined(TERNZIP_X86)
extern const WeightKernels kWeightsAvx2;
extern const WeightKernels kWeightsAvx512;
#endif

}  // namespace ternzip
