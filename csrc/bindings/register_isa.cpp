#include <pybind11/stl.h>

#include <string>

#include "bindings/registry.hpp"
#include "core/base/thread_pool.hpp"
#include "core/simd/isa.hpp"

namespace ternzip::bindings {
namespace py = pybind11;

void register_isa(py::module_& module) {
  module.def("available_isas", &available_isas);
  module.def("active_isa", [] { return std::string(isa_name(active_isa())); });
  module.def("set_isa", [](const std::string& name) { return set_isa(name); }, py::arg("name"));
  module.def("pool_threads", &pool_threads);
}

}  // namespace ternzip::bindings
