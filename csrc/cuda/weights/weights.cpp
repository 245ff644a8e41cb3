#include "cuda/weights/weights.hpp"

#include <algorithm>
#include <stdexcept>
#include <string>

#include "cuda/block.hpp"
#include "cuda/weights/launch.hpp"

namespace ternzip::cuda {
namespace {

// Elements that a tile takes of a job whose first vector begins after `head` of them.
std::uint64_t tiles_of(const void* w, std::uint64_t n, std::size_t width) {
  const std::uint64_t head = (0 - reinterpret_cast<std::uintptr_t>(w)) % kVectorBytes / width;
  const std::uint64_t size = kTileBytes / width;
  return n <= head ? 1 : (n - head + size - 1) / size;
}

void require_alignment(const void* address, std::size_t width) {
  if (width > 4) throw std::invalid_argument("expected elements of at most 32 bits");
  if (reinterpret_cast<std::uintptr_t>(address) % width != 0) {
    throw std::invalid_argument("expected an address that is a multiple of the element's " +
                                std::to_string(width) + " bytes");
  }
}

WeightTask task_of(const WeightJob& job) {
  const std::size_t width = format_of(job.dtype).width;
  require_alignment(job.w, width);
  if (!job.trits) require_alignment(job.out, width);
  const Output output = job.out == nullptr ? Output::kNone : job.trits ? Output::kTrits : Output::kElements;
  return {job.w, nullptr, job.out, job.n, 0, 0, static_cast<std::uint8_t>(job.dtype), output};
}

WeightTask task_of(const GradientJob& job) {
  const std::size_t width = format_of(job.dtype).width;
  require_alignment(job.w, width);
  require_alignment(job.grad, width);
  require_alignment(job.out, width);
  return {const_cast<void*>(job.w), job.grad, job.out, job.n, 0, 0, static_cast<std::uint8_t>(job.dtype),
          Output::kElements};
}

// Cuts jobs into batches: run(batch) for each, with everything set that depends on the jobs. `tiles` tells
// how many a task needs.
template <class Job, class Tiles, class Run>
void for_each_batch(const std::vector<Job>& jobs, WeightBatch batch, const Tiles& tiles, const Run& run) {
  const auto flush = [&] {
    if (batch.tasks != 0) run(batch);
    batch.tasks = 0;
    batch.tiles = 0;
  };
  constexpr std::uint64_t kMaxTiles = std::uint64_t{1} << 31;
  const WeightBatch whole = batch;
  std::size_t first = 0;  // the job with the index 0 of the batch
  for (std::size_t j = 0; j < jobs.size(); ++j) {
    WeightTask task = task_of(jobs[j]);
    if (task.n == 0) continue;
    if (batch.by_sign) {  // clips or counts, whatever else a job asks for
      task.out = nullptr;
      task.output = Output::kNone;
    }
    const std::uint64_t needed = tiles(task);
    if (needed > kMaxTiles) throw std::invalid_argument("a tensor of more elements than a launch can take");
    if (batch.tasks == kMaxTasks || batch.tiles + needed > kMaxTiles || j - first > 0xFFFF) flush();
    if (batch.tasks == 0) {
      first = j;
      for (unsigned s = 0; s < 4; ++s) {
        batch.scalars[s] = whole.scalars[s];
        if (whole.scalars[s].each) batch.scalars[s].address += first;
      }
      if (whole.counts != nullptr) batch.counts = whole.counts + 4 * first;
      if (whole.level_grads != nullptr) batch.level_grads = whole.level_grads + 2 * first;
    }
    task.first_tile = batch.tiles;
    task.index = static_cast<std::uint16_t>(j - first);
    batch.task[batch.tasks++] = task;
    batch.tiles += static_cast<std::uint32_t>(needed);
  }
  flush();
}

std::uint64_t vector_tiles(const WeightTask& task) {
  return tiles_of(task.w, task.n, format_of(static_cast<DType>(task.dtype)).width);
}

std::uint64_t level_tiles(std::uint64_t n) { return (n + kLevelBlock - 1) / kLevelBlock; }

WeightBatch batch_of(const Scalars& scalars) {
  WeightBatch batch{};
  if (!scalars.empty()) std::copy_n(scalars.begin(), 4, batch.scalars);
  return batch;
}

}  // namespace

void ternarize_many(const std::vector<WeightJob>& jobs, const Scalars& scalars, std::optional<double> bound,
                    std::int64_t* counts, const Target& target) {
  WeightBatch batch = batch_of(scalars);
  batch.counts = counts;
  batch.clip = bound.has_value();
  batch.bound = bound.value_or(0.0);
  if (counts != nullptr) clear(counts, 4 * sizeof(std::int64_t) * jobs.size(), target);
  for_each_batch(jobs, batch, vector_tiles,
                 [&](const WeightBatch& b) { launch(WeightKernel::kForward, b, target); });
}

void clip_many(const std::vector<WeightJob>& jobs, double bound, const Target& target) {
  WeightBatch batch{};
  batch.by_sign = true;
  batch.clip = true;
  batch.bound = bound;
  for_each_batch(jobs, batch, vector_tiles,
                 [&](const WeightBatch& b) { launch(WeightKernel::kForward, b, target); });
}

void count_many(const std::vector<WeightJob>& jobs, std::int64_t* counts, const Target& target) {
  WeightBatch batch{};
  batch.by_sign = true;
  batch.counts = counts;
  clear(counts, 4 * sizeof(std::int64_t) * jobs.size(), target);
  for_each_batch(jobs, batch, vector_tiles,
                 [&](const WeightBatch& b) { launch(WeightKernel::kForward, b, target); });
}

std::size_t level_scratch(const std::vector<GradientJob>& jobs) noexcept {
  std::uint64_t tiles = 0;
  for (const GradientJob& job : jobs) tiles += level_tiles(job.n);
  return 2 * tiles;
}

void backward_many(const std::vector<GradientJob>& jobs, const Scalars& scalars, Ste ste, double bound,
                   double* level_grads, double* scratch, const Target& target) {
  WeightBatch batch = batch_of(scalars);
  batch.bound = bound;
  batch.ste = static_cast<std::uint8_t>(ste);
  if (level_grads != nullptr) clear(level_grads, 2 * sizeof(double) * jobs.size(), target);
  if (level_grads != nullptr && scratch != nullptr) {
    // Before the gradient is written: out may be grad.
    batch.level_grads = level_grads;
    const auto tiles = [](const WeightTask& task) { return level_tiles(task.n); };
    for_each_batch(jobs, batch, tiles, [&](WeightBatch b) {
      b.level_sums = scratch;
      scratch += std::size_t{2} * b.tiles;
      launch(WeightKernel::kLevelSums, b, target);
      launch(WeightKernel::kLevelTotals, b, target);
    });
    batch.level_grads = nullptr;
  }
  for_each_batch(jobs, batch, vector_tiles,
                 [&](const WeightBatch& b) { launch(WeightKernel::kBackward, b, target); });
}

}  // namespace ternzip::cuda
