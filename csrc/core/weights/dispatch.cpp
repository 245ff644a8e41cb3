#include "core/simd/isa.hpp"
#include "core/weights/kernels.hpp"

namespace ternzip {

const WeightKernels& weight_kernels() noexcept {
#if defined(TERNZIP_X86)
  // The backward pass does nothing but move memory, and 32-byte vectors do that some 5 % faster than 64-byte
  // ones.
  static const WeightKernels avx512 = [] {
    WeightKernels kernels = kWeightsAvx512;
    kernels.w16.backward = kWeightsAvx2.w16.backward;
    kernels.w32.backward = kWeightsAvx2.w32.backward;
    kernels.w64.backward = kWeightsAvx2.w64.backward;
    return kernels;
  }();
  if (active_isa() == Isa::avx512) return avx512;
  if (active_isa() == Isa::avx2) return kWeightsAvx2;
#endif
  return kWeightsBaseline;
}

}  // namespace ternzip
