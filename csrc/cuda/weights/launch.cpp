#include "cuda/weights/launch.hpp"

#include "cuda/run.hpp"

namespace ternzip::cuda {

void launch(WeightKernel kernel, const WeightBatch& batch, const Target& target) {
  run(target, TERNZIP_ON_DEVICE(launch(kernel, batch, target)),
      [&](bool reversed) { emulation::launch(kernel, batch, reversed); });
}

}  // namespace ternzip::cuda
