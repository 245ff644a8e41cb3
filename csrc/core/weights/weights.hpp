// Ternarize, clip, count and differentiate the weights of a whole model in one call.
//
// q = positive if w > hi, negative if w < lo, w itself if it is a NaN, else +0. Thresholds, levels and bounds
// are given as doubles and rounded to the weight's dtype first, through float for the 16-bit types, as aten
// does. Bounds are positive. Results are the same bits for every instruction set and number of threads, but
// that the product of two NaNs, a gradient and a level, may be either. Pointers need no alignment; w, grad
// and out do not overlap, except that out may equal w or grad.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "core/tensor/dtype.hpp"
#include "core/weights/ternarizer.hpp"

namespace ternzip {

struct WeightJob {
  void* w = nullptr;
  std::size_t n = 0;
  DType dtype = DType::kFloat32;  // one of the first four; count_many takes the integers too
  void* out = nullptr;            // null: count only
  bool trits = false;             // out is int8, NaN gives 0
  Quantizer quantizer{};
};

struct GradientJob {
  const void* grad = nullptr;
  const void* w = nullptr;
  std::size_t n = 0;
  DType dtype = DType::kFloat32;
  void* out = nullptr;
  Quantizer quantizer{};
};

// Whether weights of this dtype can be handled.
bool is_weight_dtype(DType dtype) noexcept;
bool is_countable_dtype(DType dtype) noexcept;
// Whether the estimator has a kernel for this dtype (kScaled: float32 and float64).
bool has_backward(DType dtype, Ste ste) noexcept;

// Writes four counts a job: negative, zero, positive, invalid. With `clip`, weights beyond +-bound are
// clipped in place before they are ternarized; NaNs stay.
void ternarize_many(const std::vector<WeightJob>& jobs, bool clip, double bound, unsigned threads,
                    std::int64_t* counts);

// Clips in place; of the jobs only w, n and dtype are read.
void clip_many(const std::vector<WeightJob>& jobs, double bound, unsigned threads);

// The same four counts by the sign of the elements; of the jobs only w, n and dtype are read.
void count_many(const std::vector<WeightJob>& jobs, unsigned threads, std::int64_t* counts);

// out = the gradient that the estimator lets through; 0 at a NaN weight. Where level_grads is not null, it
// gets for each job the sums of grad over the elements at negative and at positive.
void backward_many(const std::vector<GradientJob>& jobs, Ste ste, double bound, unsigned threads,
                   double* level_grads);

}  // namespace ternzip
