// What the functions of the runtime take: shapes and addresses as plain numbers.
#pragma once

#include <pybind11/stl.h>

#include <array>
#include <stdexcept>

#include "bindings/registry.hpp"
#include "core/runtime/convolution.hpp"
#include "core/runtime/index.hpp"
#include "core/runtime/matrix_vector.hpp"

namespace ternzip::bindings {

// (rows, groups, channels, taps, block_channels)
inline IndexShape index_shape(const std::array<std::size_t, 5>& n) {
  const IndexShape shape{n[0], n[1], n[2], n[3], n[4]};
  if (!is_valid_shape(shape)) throw std::invalid_argument("index: the shape is not valid");
  return shape;
}

// (input, output, taps, stride, dilation, padding)
inline Axis axis_of(const std::array<std::size_t, 6>& n) { return {n[0], n[1], n[2], n[3], n[4], n[5]}; }

inline ActivationType activation_type(int dtype) {
  const auto type = static_cast<ActivationType>(dtype);
  if (type != ActivationType::kFloat32 && type != ActivationType::kBFloat16) {
    throw std::invalid_argument("no kernel for activations of the dtype code " + std::to_string(dtype));
  }
  return type;
}

// (biases, residual or 0, residual_scales or 0)
inline LayerEpilogue epilogue_of(const std::array<std::uintptr_t, 3>& addresses, float lowest,
                                 float highest) {
  return {pointer<const float>(addresses[0]), pointer<const void>(addresses[1]),
          pointer<const float>(addresses[2]), lowest, highest};
}

// (rows, columns, group_width)
inline MatrixShape matrix_shape(const std::array<std::size_t, 3>& n) {
  const MatrixShape shape{n[0], n[1], n[2]};
  if (!is_valid_matrix(shape)) throw std::invalid_argument("matrix: the shape is not valid");
  return shape;
}

// weights: codes, positives, negatives or 0
inline Matrix matrix_of(const std::array<std::size_t, 3>& shape,
                        const std::array<std::uintptr_t, 3>& weights) {
  return {matrix_shape(shape), pointer<const std::uint32_t>(weights[0]), pointer<const float>(weights[1]),
          pointer<const float>(weights[2])};
}

// rows, columns: the axes. weights: codes, starts, ratios, scales and dense weights; lists or the last are 0.
inline Convolution convolution_of(std::size_t batch, const std::array<std::size_t, 6>& rows,
                                  const std::array<std::size_t, 6>& columns,
                                  const std::array<std::size_t, 5>& shape,
                                  const std::array<std::uintptr_t, 5>& weights) {
  const Convolution conv{batch,
                         axis_of(rows),
                         axis_of(columns),
                         index_shape(shape),
                         pointer<const std::uint16_t>(weights[0]),
                         pointer<const std::uint32_t>(weights[1]),
                         pointer<const float>(weights[2]),
                         pointer<const float>(weights[3]),
                         pointer<const float>(weights[4])};
  if (!is_valid_convolution(conv)) throw std::invalid_argument("convolution: the shapes are not valid");
  return conv;
}

}  // namespace ternzip::bindings
