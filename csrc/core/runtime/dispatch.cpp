#include "core/runtime/kernels.hpp"
#include "core/simd/isa.hpp"

namespace ternzip {

const RuntimeKernels& runtime_kernels() noexcept {
#if defined(TERNZIP_X86)
  if (active_isa() == Isa::avx512) return kRuntimeAvx512;
  if (active_isa() == Isa::avx2) return kRuntimeAvx2;
#endif
  return kRuntimeBaseline;
}

}  // namespace ternzip
