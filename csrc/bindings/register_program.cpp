#include "bindings/registry.hpp"
#include "bindings/released_gil.hpp"
#include "bindings/runtime_arguments.hpp"
#include "core/runtime/program.hpp"

namespace ternzip::bindings {
namespace py = pybind11;
namespace {

using Three = std::array<std::size_t, 3>;

// A value's number, -1 for none.
std::size_t optional_value(std::ptrdiff_t value) {
  return value < 0 ? Program::kNone : static_cast<std::size_t>(value);
}

PoolAxis pool_axis(const Three& n) { return {n[0], n[1], n[2]}; }

SliceAxis slice_axis(const Three& n) { return {n[0], n[1], n[2]}; }

void register_layers(py::class_<Program>& program) {
  program.def(
      "convolve",
      [](Program& self, std::size_t x, std::ptrdiff_t residual, const std::array<std::size_t, 6>& rows,
         const std::array<std::size_t, 6>& columns, const std::array<std::size_t, 5>& shape,
         std::size_t n_codes, const std::array<std::uintptr_t, 5>& weights,
         const std::array<std::uintptr_t, 2>& epilogue, float lowest, float highest) {
        const Convolution conv = convolution_of(1, rows, columns, shape, weights);
        if (conv.weights == nullptr && !is_valid_index(conv.codes, n_codes, conv.starts, conv.index)) {
          throw std::invalid_argument("convolution: the lists are not valid");
        }
        return self.convolve(x, optional_value(residual), conv,
                             epilogue_of({epilogue[0], 0, epilogue[1]}, lowest, highest));
      },
      py::arg("x"), py::arg("residual"), py::arg("rows"), py::arg("columns"), py::arg("shape"),
      py::arg("n_codes"), py::arg("weights"), py::arg("epilogue"), py::arg("lowest"), py::arg("highest"));
  program.def(
      "multiply",
      [](Program& self, std::size_t x, std::ptrdiff_t residual, const std::array<std::size_t, 3>& shape,
         const std::array<std::uintptr_t, 3>& weights, const std::array<std::uintptr_t, 2>& epilogue,
         float lowest, float highest) {
        return self.multiply(x, optional_value(residual), matrix_of(shape, weights),
                             epilogue_of({epilogue[0], 0, epilogue[1]}, lowest, highest));
      },
      py::arg("x"), py::arg("residual"), py::arg("shape"), py::arg("weights"), py::arg("epilogue"),
      py::arg("lowest"), py::arg("highest"));
}

void register_others(py::class_<Program>& program) {
  program.def(
      "add",
      [](Program& self, std::size_t x, std::size_t y, float lowest, float highest) {
        return self.add(x, y, {lowest, highest});
      },
      py::arg("x"), py::arg("y"), py::arg("lowest"), py::arg("highest"));
  program.def(
      "clamp",
      [](Program& self, std::size_t x, float lowest, float highest) {
        return self.clamp(x, {lowest, highest});
      },
      py::arg("x"), py::arg("lowest"), py::arg("highest"));
  program.def(
      "normalize",
      [](Program& self, std::size_t x, const std::array<std::uintptr_t, 4>& norm, double epsilon) {
        return self.normalize(x, {pointer<const float>(norm[0]), pointer<const float>(norm[1]),
                                  pointer<const float>(norm[2]), pointer<const float>(norm[3]), epsilon});
      },
      py::arg("x"), py::arg("norm"), py::arg("epsilon"));
  program.def(
      "average",
      [](Program& self, std::size_t x, const Three& rows, const Three& columns) {
        return self.average(x, pool_axis(rows), pool_axis(columns));
      },
      py::arg("x"), py::arg("rows"), py::arg("columns"));
  program.def(
      "largest",
      [](Program& self, std::size_t x, const Three& rows, const Three& columns) {
        return self.largest(x, pool_axis(rows), pool_axis(columns));
      },
      py::arg("x"), py::arg("rows"), py::arg("columns"));
  program.def(
      "slice",
      [](Program& self, std::size_t x, const Three& rows, const Three& columns, std::size_t before,
         std::size_t behind) { return self.slice(x, slice_axis(rows), slice_axis(columns), before, behind); },
      py::arg("x"), py::arg("rows"), py::arg("columns"), py::arg("before"), py::arg("behind"));
  program.def("flatten", &Program::flatten, py::arg("x"));
}

}  // namespace

void register_program(py::module_& module) {
  py::class_<Program> program(module, "RuntimeProgram");
  program.def(py::init([](const Three& shape) { return Program({shape[0], shape[1], shape[2]}); }),
              py::arg("shape"));
  register_layers(program);
  register_others(program);
  program.def(
      "shape",
      [](const Program& self, std::size_t value) {
        const ValueShape& shape = self.shape(value);
        return std::array<std::size_t, 3>{shape.channels, shape.height, shape.width};
      },
      py::arg("value"));
  program.def("finish", &Program::finish, py::arg("value"));
  program.def(
      "run",
      [](const Program& self, std::uintptr_t x, std::size_t batch, std::uintptr_t out, unsigned threads) {
        const ReleasedGil released;
        self.run(pointer<const float>(x), batch, pointer<float>(out), threads);
      },
      py::arg("x"), py::arg("batch"), py::arg("out"), py::arg("threads"));
}

}  // namespace ternzip::bindings
