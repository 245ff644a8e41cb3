#include "core/simd/isa.hpp"
#include "core/tensor/scan_kernels.hpp"

namespace ternzip {

const ScanKernels& scan_kernels() noexcept {
#if defined(TERNZIP_X86)
  if (active_isa() == Isa::avx512) return kScanAvx512;
  if (active_isa() == Isa::avx2) return kScanAvx2;
#endif
  return kScanBaseline;
}

}  // namespace ternzip
