#include "core/runtime/elementwise.hpp"

#include <algorithm>
#include <cmath>
#include <limits>

namespace ternzip {
namespace {

// A NaN stays one.
float clamped(float y, const Bounds& bounds) {
  y = y < bounds.lowest ? bounds.lowest : y;
  return y > bounds.highest ? bounds.highest : y;
}

// Calls visit(plane of x, begin and end of the rows, begin and end of the columns) for each output in order.
template <class Visit>
void for_each_window(const float* x, const ValueShape& from, const ValueShape& to, std::size_t samples,
                     const PoolAxis& rows, const PoolAxis& columns, const Visit& visit) {
  const auto begin_of = [](const PoolAxis& axis, std::size_t o) {
    return std::max(o * axis.stride, axis.padding) - axis.padding;
  };
  const auto end_of = [](const PoolAxis& axis, std::size_t o, std::size_t size) {
    return std::min(size, o * axis.stride + axis.extent - axis.padding);
  };
  for (std::size_t plane = 0; plane < samples * from.channels; ++plane, x += from.height * from.width) {
    for (std::size_t r = 0; r < to.height; ++r) {
      for (std::size_t c = 0; c < to.width; ++c) {
        visit(x, begin_of(rows, r), end_of(rows, r, from.height), begin_of(columns, c),
              end_of(columns, c, from.width));
      }
    }
  }
}

}  // namespace

void add_clamped(const float* x, const float* y, std::size_t n, const Bounds& bounds, float* out) noexcept {
  const Bounds within = bounds;  // a copy cannot alias the output
  for (std::size_t i = 0; i < n; ++i) out[i] = clamped(x[i] + y[i], within);
}

void clamp_all(const float* x, std::size_t n, const Bounds& bounds, float* out) noexcept {
  const Bounds within = bounds;
  for (std::size_t i = 0; i < n; ++i) out[i] = clamped(x[i], within);
}

void normalize_channels(const float* x, const ValueShape& shape, std::size_t samples,
                        const Normalization& norm, float* out) noexcept {
  const std::size_t plane = shape.height * shape.width;
  const auto epsilon = static_cast<float>(norm.epsilon);
  for (std::size_t sample = 0; sample < samples; ++sample) {
    for (std::size_t c = 0; c < shape.channels; ++c, x += plane, out += plane) {
      const float inverse = 1.0f / std::sqrt(norm.variances[c] + epsilon);
      const float factor = norm.weights == nullptr ? inverse : norm.weights[c] * inverse;
      const float shift = (norm.biases == nullptr ? 0.0f : norm.biases[c]) - norm.means[c] * factor;
      for (std::size_t i = 0; i < plane; ++i) out[i] = x[i] * factor + shift;
    }
  }
}

void average_windows(const float* x, const ValueShape& from, const ValueShape& to, std::size_t samples,
                     const PoolAxis& rows, const PoolAxis& columns, float* out) noexcept {
  const auto size = static_cast<float>(rows.extent * columns.extent);
  for_each_window(
      x, from, to, samples, rows, columns,
      [&](const float* plane, std::size_t top, std::size_t bottom, std::size_t left, std::size_t right) {
        float sum = 0;
        for (std::size_t r = top; r < bottom; ++r) {
          for (std::size_t c = left; c < right; ++c) sum += plane[r * from.width + c];
        }
        *out++ = sum / size;
      });
}

void largest_of_windows(const float* x, const ValueShape& from, const ValueShape& to, std::size_t samples,
                        const PoolAxis& rows, const PoolAxis& columns, float* out) noexcept {
  for_each_window(
      x, from, to, samples, rows, columns,
      [&](const float* plane, std::size_t top, std::size_t bottom, std::size_t left, std::size_t right) {
        float most = -std::numeric_limits<float>::infinity();
        for (std::size_t r = top; r < bottom; ++r) {
          for (std::size_t c = left; c < right; ++c) {
            const float element = plane[r * from.width + c];
            if (element > most || std::isnan(element)) most = element;
          }
        }
        *out++ = most;
      });
}

void slice_channels(const float* x, const ValueShape& from, const ValueShape& to, std::size_t samples,
                    const SliceAxis& rows, const SliceAxis& columns, std::size_t before,
                    float* out) noexcept {
  const std::size_t plane = to.height * to.width;
  for (std::size_t sample = 0; sample < samples; ++sample) {
    out = std::fill_n(out, before * plane, 0.0f);
    for (std::size_t c = 0; c < from.channels; ++c, x += from.height * from.width) {
      for (std::size_t r = 0; r < to.height; ++r) {
        const float* const row = x + (rows.first + r * rows.step) * from.width + columns.first;
        for (std::size_t i = 0; i < to.width; ++i) *out++ = row[i * columns.step];
      }
    }
    out = std::fill_n(out, (to.channels - before - from.channels) * plane, 0.0f);
  }
}

}  // namespace ternzip
