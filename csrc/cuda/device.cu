// What a device can do.
#include <algorithm>
#include <map>
#include <mutex>
#include <utility>

#include "cuda/runtime_guard.cuh"
#include "cuda/target.hpp"

namespace ternzip::cuda::device {
namespace {

// nvcc lists what it compiles for, as 750 or 900.
constexpr int kArchitectures[] = {__CUDA_ARCH_LIST__};

std::string version_name(int version) {
  return std::to_string(version / 1000) + "." + std::to_string(version % 1000 / 10);
}

// The driver's side: nothing here makes a context.
std::string driver_obstacle() {
  int driver = 0;
  check(cudaDriverGetVersion(&driver), "cudaDriverGetVersion");
  int count = 0;
  const cudaError_t status = cudaGetDeviceCount(&count);
  if (status == cudaSuccess) return "";
  (void)cudaGetLastError();
  if (driver == 0) return "there is no CUDA driver";
  if (status == cudaErrorInsufficientDriver) {
    return "the driver serves CUDA " + version_name(driver) + ", the kernels need CUDA " +
           version_name(CUDART_VERSION);
  }
  return cudaGetErrorString(status);
}

std::string no_architecture(int capability) {
  std::string names;
  for (const int architecture : architectures()) {
    names += (names.empty() ? "" : ", ") + std::to_string(architecture);
  }
  return "no kernels for compute capability " + std::to_string(capability) + ", only for " + names;
}

}  // namespace

std::vector<int> architectures() {
  std::vector<int> result;
  for (const int architecture : kArchitectures) result.push_back(architecture / 10);
  return result;
}

std::string obstacle(int device, int capability, bool thorough) {
  const std::string driver = driver_obstacle();
  if (!driver.empty()) return driver;
  if (!thorough) {
    // Machine code runs within its generation; beyond the newest, the driver compiles PTX.
    const std::vector<int> known = architectures();
    const bool served = std::any_of(known.begin(), known.end(), [&](int a) {
      return a <= capability && (a / 10 == capability / 10 || a == known.back());
    });
    return served ? "" : no_architecture(capability);
  }
  const DeviceGuard guard(device);
  for (const void* kernel : {kWeightProbe, kFastProbe}) {
    cudaFuncAttributes attributes;
    const cudaError_t status = cudaFuncGetAttributes(&attributes, kernel);
    if (status == cudaSuccess) continue;
    (void)cudaGetLastError();
    if (status == cudaErrorNoKernelImageForDevice || status == cudaErrorInvalidDeviceFunction) {
      return no_architecture(capability);
    }
    return cudaGetErrorString(status);
  }
  return "";
}

std::uint32_t blocks_at_once(const void* kernel, int threads, int device) {
  static std::mutex mutex;
  static std::map<std::pair<const void*, int>, std::uint32_t> known;
  const std::lock_guard lock(mutex);
  std::uint32_t& blocks = known[{kernel, device}];
  if (blocks == 0) {
    int processors = 0, each = 0;
    check(cudaDeviceGetAttribute(&processors, cudaDevAttrMultiProcessorCount, device),
          "cudaDeviceGetAttribute");
    check(cudaOccupancyMaxActiveBlocksPerMultiprocessor(&each, kernel, threads, 0),
          "cudaOccupancyMaxActiveBlocksPerMultiprocessor");
    blocks = static_cast<std::uint32_t>(std::max(1, processors * each));
  }
  return blocks;
}

void clear(void* memory, std::size_t bytes, const Target& target) {
  const DeviceGuard guard(target.device);
  check(cudaMemsetAsync(memory, 0, bytes, static_cast<cudaStream_t>(target.stream)), "cudaMemsetAsync");
}

}  // namespace ternzip::cuda::device
