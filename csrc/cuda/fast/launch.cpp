#include "cuda/fast/launch.hpp"

#include "cuda/run.hpp"

namespace ternzip::cuda {

void launch(const FastBatch& batch, const Target& target) {
  run(target, TERNZIP_ON_DEVICE(launch(batch, target)),
      [&](bool reversed) { emulation::launch(batch, reversed); });
}

}  // namespace ternzip::cuda
