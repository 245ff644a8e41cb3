#include "cuda/target.hpp"

#include <cstring>

#include "cuda/run.hpp"

namespace ternzip::cuda {

#if defined(TERNZIP_CUDA)
bool is_compiled() noexcept { return true; }
std::vector<int> architectures() { return device::architectures(); }
std::string obstacle(int device, int capability, bool thorough) {
  return device::obstacle(device, capability, thorough);
}
#else
bool is_compiled() noexcept { return false; }
std::vector<int> architectures() { return {}; }
std::string obstacle(int, int, bool) { return kNotCompiled; }
#endif

void clear(void* memory, std::size_t bytes, const Target& target) {
  if (bytes == 0) return;
  run(target, TERNZIP_ON_DEVICE(clear(memory, bytes, target)),
      [&](std::uint32_t) { std::memset(memory, 0, bytes); });
}

}  // namespace ternzip::cuda
