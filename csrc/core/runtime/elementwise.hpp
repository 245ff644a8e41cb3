// What networks do between their layers, on float32 values of `samples` samples of one shape. Every result is
// computed alike on all processors.
#pragma once

#include <cstddef>

namespace ternzip {

// What a value holds for each sample: float32 (channels, height, width), the last the fastest.
struct ValueShape {
  std::size_t channels;
  std::size_t height;
  std::size_t width;

  std::size_t size() const noexcept { return channels * height * width; }
  bool operator==(const ValueShape&) const = default;
};

// A sliding window without groups: output o reads input o * stride + 0 ... extent - 1 - padding.
struct PoolAxis {
  std::size_t extent;
  std::size_t stride;
  std::size_t padding;  // on either side; what lies there is passed over
};

// Every `step`-th element from `first` on.
struct SliceAxis {
  std::size_t first;
  std::size_t step;
  std::size_t count;
};

struct Bounds {
  float lowest;
  float highest;
};

// Statistics and affine map of a batch norm, one number a channel; `weights` and `biases` may be null.
struct Normalization {
  const float* means;
  const float* variances;
  const float* weights;
  const float* biases;
  double epsilon;
};

// The contracts are those of the steps of the same kind (core/runtime/program.hpp). `out` overlaps no input.
void add_clamped(const float* x, const float* y, std::size_t n, const Bounds& bounds, float* out) noexcept;
void clamp_all(const float* x, std::size_t n, const Bounds& bounds, float* out) noexcept;
void normalize_channels(const float* x, const ValueShape& shape, std::size_t samples,
                        const Normalization& norm, float* out) noexcept;
void average_windows(const float* x, const ValueShape& from, const ValueShape& to, std::size_t samples,
                     const PoolAxis& rows, const PoolAxis& columns, float* out) noexcept;
void largest_of_windows(const float* x, const ValueShape& from, const ValueShape& to, std::size_t samples,
                        const PoolAxis& rows, const PoolAxis& columns, float* out) noexcept;
void slice_channels(const float* x, const ValueShape& from, const ValueShape& to, std::size_t samples,
                    const SliceAxis& rows, const SliceAxis& columns, std::size_t before, float* out) noexcept;

}  // namespace ternzip
