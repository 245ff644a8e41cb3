#include "bindings/registry.hpp"
#include "bindings/released_gil.hpp"
#include "bindings/runtime_arguments.hpp"
#include "core/runtime/bit_planes.hpp"
#include "core/runtime/bitwise.hpp"

namespace ternzip::bindings {
namespace py = pybind11;
namespace {

void register_index(py::module_& module) {
  module.def(
      "runtime_build_index",
      [](std::uintptr_t trits, const std::array<std::size_t, 5>& shape, std::uintptr_t codes,
         std::uintptr_t starts) {
        const IndexShape checked = index_shape(shape);
        const ReleasedGil released;
        build_index(pointer<const std::int8_t>(trits), checked, pointer<std::uint16_t>(codes),
                    pointer<std::uint32_t>(starts));
      },
      py::arg("trits"), py::arg("shape"), py::arg("codes"), py::arg("starts"));
  module.def(
      "runtime_read_index",
      [](std::uintptr_t codes, std::size_t n_codes, std::uintptr_t starts,
         const std::array<std::size_t, 5>& shape, std::uintptr_t trits) {
        const IndexShape checked = index_shape(shape);
        const auto* const from = pointer<const std::uint16_t>(codes);
        const auto* const lists = pointer<const std::uint32_t>(starts);
        const ReleasedGil released;
        if (!is_valid_index(from, n_codes, lists, checked)) return false;
        if (trits != 0) read_index(from, lists, checked, pointer<std::int8_t>(trits));
        return true;
      },
      py::arg("codes"), py::arg("n_codes"), py::arg("starts"), py::arg("shape"), py::arg("trits"));
}

void register_codes(py::module_& module) {
  module.def(
      "runtime_build_codes",
      [](std::uintptr_t trits, const std::array<std::size_t, 3>& shape, std::uintptr_t codes) {
        const MatrixShape checked = matrix_shape(shape);
        const ReleasedGil released;
        build_codes(pointer<const std::int8_t>(trits), checked, pointer<std::uint32_t>(codes));
      },
      py::arg("trits"), py::arg("shape"), py::arg("codes"));
  module.def(
      "runtime_read_codes",
      [](std::uintptr_t codes, const std::array<std::size_t, 3>& shape, std::uintptr_t trits) {
        const MatrixShape checked = matrix_shape(shape);
        const ReleasedGil released;
        read_codes(pointer<const std::uint32_t>(codes), checked, pointer<std::int8_t>(trits));
      },
      py::arg("codes"), py::arg("shape"), py::arg("trits"));
}

// (rows, groups, channels, taps)
PlaneShape plane_shape(const std::array<std::size_t, 4>& n) {
  const PlaneShape shape{n[0], n[1], n[2], n[3]};
  if (!is_valid_planes_shape(shape)) throw std::invalid_argument("bit planes: the shape is not valid");
  return shape;
}

void register_bit_planes(py::module_& module) {
  module.def(
      "runtime_build_planes",
      [](std::uintptr_t trits, const std::array<std::size_t, 4>& shape, std::uintptr_t planes) {
        const PlaneShape checked = plane_shape(shape);
        const ReleasedGil released;
        build_planes(pointer<const std::int8_t>(trits), checked, pointer<std::uint32_t>(planes));
      },
      py::arg("trits"), py::arg("shape"), py::arg("planes"));
  module.def(
      "runtime_read_planes",
      [](std::uintptr_t planes, const std::array<std::size_t, 4>& shape, std::uintptr_t trits) {
        const PlaneShape checked = plane_shape(shape);
        const ReleasedGil released;
        read_planes(pointer<const std::uint32_t>(planes), checked, pointer<std::int8_t>(trits));
      },
      py::arg("planes"), py::arg("shape"), py::arg("trits"));
  module.def(
      "runtime_convolve_bitwise",
      [](std::uintptr_t x, int dtype, std::size_t batch, const std::array<std::size_t, 6>& rows,
         const std::array<std::size_t, 6>& columns, const std::array<std::size_t, 4>& shape,
         const std::array<std::uintptr_t, 2>& weights, float threshold,
         const std::array<std::uintptr_t, 3>& epilogue, float lowest, float highest, std::uintptr_t out,
         unsigned threads) {
        const BitwiseConvolution conv{batch,
                                      axis_of(rows),
                                      axis_of(columns),
                                      plane_shape(shape),
                                      pointer<const std::uint32_t>(weights[0]),
                                      pointer<const float>(weights[1]),
                                      threshold};
        if (!is_valid_bitwise(conv)) {
          throw std::invalid_argument("bitwise convolution: the shapes are not valid");
        }
        const Activations activations{pointer<const void>(x), activation_type(dtype)};
        const LayerEpilogue after = epilogue_of(epilogue, lowest, highest);
        const ReleasedGil released;
        convolve_bitwise(conv, activations, after, pointer<void>(out), threads);
      },
      py::arg("x"), py::arg("dtype"), py::arg("batch"), py::arg("rows"), py::arg("columns"), py::arg("shape"),
      py::arg("weights"), py::arg("threshold"), py::arg("epilogue"), py::arg("lowest"), py::arg("highest"),
      py::arg("out"), py::arg("threads"));
}

}  // namespace

void register_runtime(py::module_& module) {
  register_index(module);
  register_codes(module);
  register_bit_planes(module);
  module.def(
      "runtime_convolve",
      [](std::uintptr_t x, int dtype, std::size_t batch, const std::array<std::size_t, 6>& rows,
         const std::array<std::size_t, 6>& columns, const std::array<std::size_t, 5>& shape,
         const std::array<std::uintptr_t, 5>& weights, const std::array<std::uintptr_t, 3>& epilogue,
         float lowest, float highest, std::uintptr_t out, unsigned threads) {
        const Convolution conv = convolution_of(batch, rows, columns, shape, weights);
        const Activations activations{pointer<const void>(x), activation_type(dtype)};
        const LayerEpilogue after = epilogue_of(epilogue, lowest, highest);
        const ReleasedGil released;
        convolve(conv, activations, after, pointer<void>(out), threads);
      },
      py::arg("x"), py::arg("dtype"), py::arg("batch"), py::arg("rows"), py::arg("columns"), py::arg("shape"),
      py::arg("weights"), py::arg("epilogue"), py::arg("lowest"), py::arg("highest"), py::arg("out"),
      py::arg("threads"));
  module.def(
      "runtime_multiply",
      [](std::uintptr_t x, int dtype, std::size_t batch, const std::array<std::size_t, 3>& shape,
         const std::array<std::uintptr_t, 3>& weights, const std::array<std::uintptr_t, 3>& epilogue,
         float lowest, float highest, std::uintptr_t out, unsigned threads) {
        const Matrix matrix = matrix_of(shape, weights);
        const Activations activations{pointer<const void>(x), activation_type(dtype)};
        const LayerEpilogue after = epilogue_of(epilogue, lowest, highest);
        const ReleasedGil released;
        multiply(matrix, activations, batch, after, pointer<void>(out), threads);
      },
      py::arg("x"), py::arg("dtype"), py::arg("batch"), py::arg("shape"), py::arg("weights"),
      py::arg("epilogue"), py::arg("lowest"), py::arg("highest"), py::arg("out"), py::arg("threads"));
}

}  // namespace ternzip::bindings
