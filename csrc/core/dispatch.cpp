#include "core/dispatch.hpp"

#include "core/isa.hpp"

namespace ternzip {

const ScanKernels& scan_kernels() noexcept {
#if defined(TERNZIP_X86)
  if (active_isa() == Isa::avx512) return kScanAvx512;
  if (active_isa() == Isa::avx2) return kScanAvx2;
#endif
  return kScanBaseline;
}

const WeightKernels& weight_kernels() noexcept {
#if defined(TERNZIP_X86)
  if (active_isa() == Isa::avx512) return kWeightsAvx512;
  if (active_isa() == Isa::avx2) return kWeightsAvx2;
#endif
  return kWeightsBaseline;
}

}  // namespace ternzip
