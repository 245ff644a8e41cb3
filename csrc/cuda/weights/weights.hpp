// core/weights/weights.hpp on a CUDA device: the same bits, in one launch for up to kMaxTasks weights.
//
// Jobs' pointers lie on the device, each aligned to its element. Elements of 64 bits are not taken: the
// functions below throw std::invalid_argument. Everything is ordered by the stream alone: nothing is
// allocated, nothing waits, so that calls can be captured into a graph. Differences to the CPU: a product
// that is a NaN has CUDA's payload, and thresholds and levels are read on the device.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "core/weights/weights.hpp"
#include "cuda/target.hpp"
#include "cuda/weights/batch.hpp"

namespace ternzip::cuda {

using Scalars = std::vector<Scalar>;  // lo, hi, negative, positive; instead of the jobs' quantizers

// counts: four a job on the device, or null: not counted.
void ternarize_many(const std::vector<WeightJob>& jobs, const Scalars& scalars, std::optional<double> bound,
                    std::int64_t* counts, const Target& target);
void clip_many(const std::vector<WeightJob>& jobs, double bound, const Target& target);
void count_many(const std::vector<WeightJob>& jobs, std::int64_t* counts, const Target& target);

// Doubles that backward_many needs to sum up gradients of levels.
std::size_t level_scratch(const std::vector<GradientJob>& jobs) noexcept;

// level_grads: two a job on the device, or null; scratch: level_scratch doubles, or null: level_grads become
// 0.
void backward_many(const std::vector<GradientJob>& jobs, const Scalars& scalars, Ste ste, double bound,
                   double* level_grads, double* scratch, const Target& target);

}  // namespace ternzip::cuda
