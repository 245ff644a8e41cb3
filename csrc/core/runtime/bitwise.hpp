// Convolutions whose weights and inputs are both ternary, counted from bit planes.
#pragma once

#include <cstddef>
#include <cstdint>

#include "core/runtime/activations.hpp"
#include "core/runtime/bit_planes.hpp"
#include "core/runtime/convolution.hpp"

namespace ternzip {

struct BitwiseConvolution {
  std::size_t batch;
  Axis rows;     // height; 1 long for a convolution in one dimension
  Axis columns;  // width; vectors are the pixels of a linear layer
  PlaneShape shape;
  const std::uint32_t* planes;  // any values can be run
  const float* scales;          // of each output channel
  float threshold;              // not negative
};

// Whether planes and axes fit together and every extent is positive and small enough that nothing overflows.
bool is_valid_bitwise(const BitwiseConvolution& convolution) noexcept;

// out (batch, shape.rows, rows.output, columns.output) of x (batch, groups * shape.channels, rows.input,
// columns.input), in x's type. An input counts as +1 above the threshold, as -1 below its opposite, else as
// 0. Sums of products are exact and become float32 as they are, rounded where they are beyond 2^24; then
// scale * sum + bias + residual_scale * residual, clamped. An output that reads a NaN, by whatever weight, is
// one. The same bits for any number of threads, batch or instruction set. Throws std::bad_alloc.
void convolve_bitwise(const BitwiseConvolution& convolution, const Activations& x,
                      const LayerEpilogue& epilogue, void* out, unsigned threads);

}  // namespace ternzip
