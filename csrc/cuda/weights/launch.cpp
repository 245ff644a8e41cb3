#include "cuda/weights/launch.hpp"

#include "cuda/run.hpp"

namespace ternzip::cuda {

void launch(WeightKernel kernel, const WeightBatch& batch, const Target& target) {
  run(target, TERNZIP_ON_DEVICE(launch(kernel, batch, target)),
      [&](std::uint32_t seed) { emulation::launch(kernel, batch, seed); });
}

}  // namespace ternzip::cuda
