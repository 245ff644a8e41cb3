// Activations as layers take and give them: float32 or bfloat16 in memory, float32 in between.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

namespace ternzip {

enum class ActivationType : int { kFloat32 = 1, kBFloat16 = 3 };  // the codes of DType

inline std::size_t width_of(ActivationType type) noexcept { return type == ActivationType::kFloat32 ? 4 : 2; }

// A dense array of activations; `data` may be null where there are none.
struct Activations {
  const void* data;
  ActivationType type;
};

// y = min(max(scale sum + bias + residual_scale residual, lowest), highest) for each output channel. Arrays
// are one number a channel; `residual` has the output's shape and type, or is null.
struct LayerEpilogue {
  const float* biases;
  const void* residual;
  const float* residual_scales;
  float lowest;
  float highest;
};

// n elements from number `first` on, every `step`-th, as float32.
inline void widen(const Activations& from, std::size_t first, std::size_t step, std::size_t n,
                  float* out) noexcept {
  if (from.type == ActivationType::kFloat32) {
    const float* const x = static_cast<const float*>(from.data) + first;
    if (step == 1) {
      std::memcpy(out, x, n * sizeof(float));
      return;
    }
    if (step == 2) {  // the usual one, which a compiler that knows it does several at a time
      for (std::size_t i = 0; i < n; ++i) out[i] = x[2 * i];
      return;
    }
    for (std::size_t i = 0; i < n; ++i) out[i] = x[i * step];
    return;
  }
  const auto* const x = static_cast<const std::uint16_t*>(from.data) + first;
  for (std::size_t i = 0; i < n; ++i) {
    const std::uint32_t bits = static_cast<std::uint32_t>(x[i * step]) << 16;
    std::memcpy(out + i, &bits, sizeof(bits));
  }
}

}  // namespace ternzip
