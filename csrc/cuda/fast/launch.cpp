#include "cuda/fast/launch.hpp"

#include "cuda/run.hpp"

namespace ternzip::cuda {

void launch(const FastBatch& batch, const Target& target) {
  run(target, TERNZIP_ON_DEVICE(launch(batch, target)),
      [&](std::uint32_t seed) { emulation::launch(batch, seed); });
}

}  // namespace ternzip::cuda
