#include "core/runtime/bitwise_kernels.hpp"
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

const BitwiseKernels& bitwise_kernels() noexcept {
#if defined(TERNZIP_X86)
  if (active_isa() == Isa::avx512) return has_vector_popcount() ? kBitwiseAvx512Popcount : kBitwiseAvx512;
  if (active_isa() == Isa::avx2) return kBitwiseAvx2;
#endif
  return kBitwiseBaseline;
}

}  // namespace ternzip
