#include "cuda/cuda_target.hpp"

#include <cstring>
#include <stdexcept>

namespace ternzip::cuda {
namespace {

#if !defined(TERNZIP_CUDA)
constexpr const char* kNotCompiled = "this build of ternzip holds no CUDA kernels";
#endif

// Calls one of the two: on_device(), or emulated(reversed).
template <class Device, class Emulated>
void run(const Target& target, [[maybe_unused]] const Device& on_device, const Emulated& emulated) {
  if (target.device < 0) {
    emulated(target.device == kEmulatedReversed);
    return;
  }
#if defined(TERNZIP_CUDA)
  on_device();
#else
  throw std::runtime_error(kNotCompiled);
#endif
}

}  // namespace

#if defined(TERNZIP_CUDA)
bool is_compiled() noexcept { return true; }
std::vector<int> architectures() { return device::architectures(); }
std::string obstacle(int device, int capability, bool thorough) {
  return device::obstacle(device, capability, thorough);
}
#define TERNZIP_ON_DEVICE(call) [&] { device::call; }
#else
bool is_compiled() noexcept { return false; }
std::vector<int> architectures() { return {}; }
std::string obstacle(int, int, bool) { return kNotCompiled; }
#define TERNZIP_ON_DEVICE(call) [] {}
#endif

void clear(void* memory, std::size_t bytes, const Target& target) {
  if (bytes == 0) return;
  run(target, TERNZIP_ON_DEVICE(clear(memory, bytes, target)), [&](bool) { std::memset(memory, 0, bytes); });
}

void launch(WeightKernel kernel, const WeightBatch& batch, const Target& target) {
  run(target, TERNZIP_ON_DEVICE(launch(kernel, batch, target)),
      [&](bool reversed) { emulation::launch(kernel, batch, reversed); });
}

void launch(const FastBatch& batch, const Target& target) {
  run(target, TERNZIP_ON_DEVICE(launch(batch, target)),
      [&](bool reversed) { emulation::launch(batch, reversed); });
}

}  // namespace ternzip::cuda
