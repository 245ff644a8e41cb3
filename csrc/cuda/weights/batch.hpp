// What a launch over the weights of a model is told: few enough bytes to travel as the kernel's parameter, so
// that a captured graph keeps them and nothing is allocated.
#pragma once

#include <cstddef>
#include <cstdint>

#include "core/tensor/dtype.hpp"
#include "core/weights/ternarizer.hpp"

namespace ternzip::cuda {

// One of lo, hi, negative, positive: a value, or doubles on the device, one for all weights or one for each.
struct Scalar {
  const double* address = nullptr;  // null: `value`
  double value = 0;
  bool each = false;
};

enum class Output : std::uint8_t { kNone, kElements, kTrits };

struct WeightTask {
  void* w;
  const void* grad;  // null but for the backward pass
  void* out;
  std::uint64_t n;
  std::uint32_t first_tile;  // of this launch
  std::uint16_t index;       // among the weights of the launch's call, for scalars and counts
  std::uint8_t dtype;
  Output output;
};

inline constexpr unsigned kMaxTasks = 96;

struct WeightBatch {
  Scalar scalars[4];     // lo, hi, negative, positive, from the first weight of the batch on
  std::int64_t* counts;  // null, or four a weight from the first of the batch on; added to
  double* level_grads;   // null, or two a weight likewise
  double* level_sums;    // null, or two a tile of kLevelBlock elements: where level_grads are summed up
  double bound;
  std::uint32_t tiles;
  std::uint16_t tasks;
  bool clip;         // w beyond +-bound, in place, first
  bool by_sign;      // count by sign instead of by the scalars
  std::uint8_t ste;  // of the backward pass
  WeightTask task[kMaxTasks];
};
static_assert(sizeof(WeightBatch) <= 4096, "what every CUDA version takes as parameters");

// A tile is what a block works on between two looks at the batch: 32 bytes of w for each of its threads.
inline constexpr unsigned kTileBytes = 8192;

enum class WeightKernel { kForward, kBackward, kLevelSums, kLevelTotals };

}  // namespace ternzip::cuda
