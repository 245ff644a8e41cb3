#include <pybind11/pybind11.h>

#include "bindings/registry.hpp"

PYBIND11_MODULE(_ternzip, module) {
  using namespace ternzip::bindings;
  module.doc() = "Native core of ternzip. Private: use the ternzip package.";
  module.attr("__version__") = TERNZIP_VERSION;
  register_context(module);
  register_cuda(module);
  register_isa(module);
  register_fast(module);
  register_planes(module);
  register_program(module);
  register_runtime(module);
  register_ternary(module);
  register_weights(module);
}
