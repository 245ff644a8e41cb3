// Where kernels run, and what stands in the way.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

namespace ternzip::cuda {

// The device that is none: kernels are emulated on the CPU, one thread after the other, and every pointer is
// one of the host's. For tests. Any other negative number is a seed of an order of warps and blocks.
inline constexpr int kEmulated = -1;
inline constexpr int kEmulatedReversed = -2;  // the last warp and the last block first

struct Target {
  int device = kEmulated;
  void* stream = nullptr;  // a cudaStream_t of that device
};

// Whether this binary holds CUDA kernels, and the compute capabilities (as 75 or 90) they were compiled for.
bool is_compiled() noexcept;
std::vector<int> architectures();

// Why the kernels cannot run on this device; empty if they can. `thorough` asks the device itself, which
// makes a context on it where there is none; else the answer follows from its capability (as 90) and the
// driver.
std::string obstacle(int device, int capability, bool thorough);

// Fills memory with zeros, in the order of the stream. A std::runtime_error names what CUDA refused.
void clear(void* memory, std::size_t bytes, const Target& target);

// The device's side (device.cu).
namespace device {
std::vector<int> architectures();
std::string obstacle(int device, int capability, bool thorough);
void clear(void* memory, std::size_t bytes, const Target& target);
}  // namespace device

}  // namespace ternzip::cuda
