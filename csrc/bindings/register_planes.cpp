#include <stdexcept>

#include "bindings/registry.hpp"
#include "core/codecs/planes/planes.hpp"

namespace ternzip::bindings {
namespace py = pybind11;

void register_planes(py::module_& module) {
  module.def(
      "split_planes",
      [](std::uintptr_t src, std::size_t count, unsigned width, bool rotate, std::uintptr_t dst) {
        py::gil_scoped_release release;
        split_planes(pointer<const std::uint8_t>(src), count, width, rotate, pointer<std::uint8_t>(dst));
      },
      py::arg("src"), py::arg("count"), py::arg("width"), py::arg("rotate"), py::arg("dst"));
  module.def(
      "merge_planes",
      [](std::uintptr_t src, std::size_t count, unsigned width, bool rotate, std::uintptr_t dst) {
        py::gil_scoped_release release;
        merge_planes(pointer<const std::uint8_t>(src), count, width, rotate, pointer<std::uint8_t>(dst));
      },
      py::arg("src"), py::arg("count"), py::arg("width"), py::arg("rotate"), py::arg("dst"));
}

}  // namespace ternzip::bindings
