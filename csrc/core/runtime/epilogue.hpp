// The way out of a layer: sums of an output channel, through its epilogue, to where they belong.
#pragma once

#include <cstddef>
#include <cstdint>

#include "core/runtime/activations.hpp"
#include "core/runtime/kernels.hpp"

namespace ternzip {

// n sums of channel `row`, to be multiplied by `scale`, to the elements of `out` from number `at` on, which
// are of `type`, as the residual is.
inline void finish_row(const float* sums, std::size_t n, float scale, std::size_t row, std::size_t at,
                       ActivationType type, const LayerEpilogue& epilogue, void* out) {
  const RuntimeKernels& kernels = runtime_kernels();
  const bool has_residual = epilogue.residual != nullptr;
  const Epilogue e{scale, epilogue.biases[row], has_residual ? epilogue.residual_scales[row] : 0.0f,
                   epilogue.lowest, epilogue.highest};
  if (type == ActivationType::kFloat32) {
    const auto* const residual = static_cast<const float*>(epilogue.residual);
    kernels.finish(sums, n, e, has_residual ? residual + at : nullptr, static_cast<float*>(out) + at);
  } else {
    const auto* const residual = static_cast<const std::uint16_t*>(epilogue.residual);
    kernels.finish_bfloat16(sums, n, e, has_residual ? residual + at : nullptr,
                            static_cast<std::uint16_t*>(out) + at);
  }
}

}  // namespace ternzip
