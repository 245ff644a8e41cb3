// One register_* function per topic; module.cpp only calls them.
#pragma once

#include <pybind11/pybind11.h>

#include <cstdint>

namespace ternzip::bindings {

// Every pointer argument is an address held alive by the calling Python wrapper. The functions are
// private for that reason: only ternzip's own wrappers, which hold the owners, call them.
template <class T>
T* pointer(std::uintptr_t address) noexcept {
  return reinterpret_cast<T*>(address);  // NOLINT(performance-no-int-to-ptr)
}

void register_context(pybind11::module_& module);
void register_cuda(pybind11::module_& module);
void register_isa(pybind11::module_& module);
void register_fast(pybind11::module_& module);
void register_planes(pybind11::module_& module);
void register_program(pybind11::module_& module);
void register_runtime(pybind11::module_& module);
void register_ternary(pybind11::module_& module);
void register_weights(pybind11::module_& module);

}  // namespace ternzip::bindings
