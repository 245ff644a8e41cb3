// Convolutions whose weights are lists of what is not zero, or dense.
#pragma once

#include <cstddef>
#include <cstdint>

#include "core/runtime/activations.hpp"
#include "core/runtime/index.hpp"

namespace ternzip {

// One direction of a convolution: output o reads input o * stride + tap * dilation - padding, zero where that
// is outside.
struct Axis {
  std::size_t input;
  std::size_t output;
  std::size_t taps;
  std::size_t stride;
  std::size_t dilation;
  std::size_t padding;  // before the first element; what is read beyond the last is zero too
};

// Whether every extent is positive and small enough that nothing overflows.
bool is_valid_axis(const Axis& axis) noexcept;

struct Convolution {
  std::size_t batch;
  Axis rows;     // height; 1 long for a convolution in one dimension
  Axis columns;  // width
  IndexShape index;
  const std::uint16_t* codes;
  const std::uint32_t* starts;
  const float* ratios;   // of each output channel: positive level / -negative level
  const float* scales;   // -negative level, times what follows the layer
  const float* weights;  // [index.rows][index.channels][index.taps], or null; codes, starts, ratios are null
};

// Whether index and axes fit together and every extent is positive and small enough that nothing overflows.
bool is_valid_convolution(const Convolution& convolution) noexcept;

// Additions for which a second thread is worth its start.
inline constexpr std::size_t kAdditionsPerThread = std::size_t{1} << 21;

// Additions of a valid convolution for each sample.
double additions_of_sample(const Convolution& convolution) noexcept;

// out (batch, index.rows, rows.output, columns.output) of x (batch, groups * index.channels, rows.input,
// columns.input), in x's type. For an output channel k
//   sum = ratios[k] * (x where the weight is +1) - (x where it is -1),
// added up in float32: a block of channels at a time, in each the list of +1, times the ratio, then the list
// of -1. With dense weights the sum is that of the products, each rounded, from the first channel to the last
// within a block. The order depends on the layer alone: the same bits for any number of threads, batch or
// instruction set. The index must be valid (core/runtime/index.hpp) and the convolution too. Throws
// std::bad_alloc.
void convolve(const Convolution& convolution, const Activations& x, const LayerEpilogue& epilogue, void* out,
              unsigned threads);

}  // namespace ternzip
