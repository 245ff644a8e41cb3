#include <vector>

#include "bindings/elements.hpp"
#include "bindings/registry.hpp"
#include "bindings/released_gil.hpp"
#include "core/codecs/fast/fast.hpp"

namespace ternzip::bindings {
namespace py = pybind11;

void register_fast(py::module_& module) {
  module.def(
      "fast_encode",
      [](std::uintptr_t trits, std::size_t n, std::uint64_t negative, std::uint64_t zero,
         std::uint64_t positive, unsigned lanes, unsigned block_bits, unsigned max_length,
         unsigned precision) {
        std::vector<std::uint8_t> payload;
        {
          const ReleasedGil released;
          payload = fast::encode(pointer<const std::int8_t>(trits), n, {negative, zero, positive},
                                 {lanes, block_bits, max_length, precision});
        }
        return py::bytes(reinterpret_cast<const char*>(payload.data()), payload.size());
      },
      py::arg("trits"), py::arg("n"), py::arg("negative"), py::arg("zero"), py::arg("positive"),
      py::kw_only(), py::arg("lanes") = 0u, py::arg("block_bits") = 0u, py::arg("max_length") = 0u,
      py::arg("precision") = 0u);
  module.def(
      "fast_decode",
      [](std::uintptr_t payload, std::size_t size, std::size_t n, std::uint64_t negative, std::uint64_t zero,
         std::uint64_t positive, std::uintptr_t out) {
        const ReleasedGil released;
        return fast::decode(pointer<const std::uint8_t>(payload), size, n, {negative, zero, positive},
                            pointer<std::int8_t>(out));
      },
      py::arg("payload"), py::arg("size"), py::arg("n"), py::arg("negative"), py::arg("zero"),
      py::arg("positive"), py::arg("out"));
  module.def(
      "fast_decode_into",
      [](std::uintptr_t payload, std::size_t size, std::size_t n, std::uint64_t negative, std::uint64_t zero,
         std::uint64_t positive, int dtype, std::uintptr_t negative_levels, std::uintptr_t positive_levels,
         const GridRow& grid, std::size_t first, std::uintptr_t out) -> py::object {
        ElementWriter writer = make_writer(dtype, negative_levels, positive_levels, grid, first, out);
        bool accepted = false;
        {
          const ReleasedGil released;
          accepted = fast::decode_into(pointer<const std::uint8_t>(payload), size, n,
                                       {negative, zero, positive}, writer);
        }
        if (!accepted) return py::none();
        return written(writer);
      },
      py::arg("payload"), py::arg("size"), py::arg("n"), py::arg("negative"), py::arg("zero"),
      py::arg("positive"), py::arg("dtype"), py::arg("negative_levels"), py::arg("positive_levels"),
      py::arg("grid"), py::arg("first"), py::arg("out"));
}

}  // namespace ternzip::bindings
