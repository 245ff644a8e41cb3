// What the launches share: errors, and the device of the calling thread. For nvcc only.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>
#include <stdexcept>
#include <string>

// A kernel's parameter that is read where it lies, instead of from a copy in each thread.
#if !defined(__CUDA_ARCH__) || __CUDA_ARCH__ >= 700
#define TERNZIP_PARAMETER __grid_constant__
#else
#define TERNZIP_PARAMETER
#endif

namespace ternzip::cuda::device {

inline void check(cudaError_t status, const char* what) {
  if (status == cudaSuccess) return;
  (void)cudaGetLastError();  // else the next launch would be blamed
  throw std::runtime_error(std::string(what) + ": " + cudaGetErrorString(status));
}

// Makes a device the current one for as long as it lives.
class DeviceGuard {
 public:
  explicit DeviceGuard(int device) {
    check(cudaGetDevice(&before_), "cudaGetDevice");
    if (before_ == device) return;
    check(cudaSetDevice(device), "cudaSetDevice");
    changed_ = true;
  }
  DeviceGuard(const DeviceGuard&) = delete;
  DeviceGuard& operator=(const DeviceGuard&) = delete;
  ~DeviceGuard() {
    if (changed_) (void)cudaSetDevice(before_);
  }

 private:
  int before_ = 0;
  bool changed_ = false;
};

// Blocks that the device can run at the same time; more would only wait.
std::uint32_t blocks_at_once(const void* kernel, int threads, int device);

// One of every kernel, for asking whether a device can run them.
extern const void* const kWeightProbe;
extern const void* const kFastProbe;

}  // namespace ternzip::cuda::device
