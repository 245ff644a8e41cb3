// The choice between the kernels on a device and their emulation on the CPU.
#pragma once

#include <cstdint>
#include <stdexcept>

#include "cuda/target.hpp"

namespace ternzip::cuda {

inline constexpr const char* kNotCompiled = "this build of ternzip holds no CUDA kernels";

// Calls one of the two: on_device(), or emulated(seed of the order of warps). What runs on the device is
// written TERNZIP_ON_DEVICE(call of a function of namespace device), since a build may hold none.
template <class Device, class Emulated>
void run(const Target& target, [[maybe_unused]] const Device& on_device, const Emulated& emulated) {
  if (target.device < 0) {
    emulated(static_cast<std::uint32_t>(-static_cast<std::int64_t>(target.device)));
    return;
  }
#if defined(TERNZIP_CUDA)
  on_device();
#else
  throw std::runtime_error(kNotCompiled);
#endif
}

#if defined(TERNZIP_CUDA)
#define TERNZIP_ON_DEVICE(call) [&] { device::call; }
#else
#define TERNZIP_ON_DEVICE(call) [] {}
#endif

}  // namespace ternzip::cuda
