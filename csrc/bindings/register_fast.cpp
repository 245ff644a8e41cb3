#include <stdexcept>
#include <string>
#include <vector>

#include "bindings/registry.hpp"
#include "core/fast.hpp"

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
          py::gil_scoped_release release;
          if (!fast_encode(pointer<const std::int8_t>(trits), n, {negative, zero, positive},
                           {lanes, block_bits, max_length, precision}, payload)) {
            throw std::invalid_argument(
                "fast_encode: needs at most 2^22 trits in {-1, 0, 1}, no more of each than counted, "
                "and options in range");
          }
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
        py::gil_scoped_release release;
        return fast_decode(pointer<const std::uint8_t>(payload), size, n, {negative, zero, positive},
                           pointer<std::int8_t>(out));
      },
      py::arg("payload"), py::arg("size"), py::arg("n"), py::arg("negative"), py::arg("zero"),
      py::arg("positive"), py::arg("out"));
  module.def(
      "fast_decode_into",
      [](std::uintptr_t payload, std::size_t size, std::size_t n, std::uint64_t negative, std::uint64_t zero,
         std::uint64_t positive, unsigned element_size, std::uint64_t negative_bits,
         std::uint64_t positive_bits, std::uintptr_t out) {
        if (element_size != 1 && element_size != 2 && element_size != 4 && element_size != 8) {
          throw std::invalid_argument("fast_decode_into: element_size must be 1, 2, 4 or 8");
        }
        py::gil_scoped_release release;
        return fast_decode_into(pointer<const std::uint8_t>(payload), size, n, {negative, zero, positive},
                                element_size, negative_bits, positive_bits, pointer<void>(out));
      },
      py::arg("payload"), py::arg("size"), py::arg("n"), py::arg("negative"), py::arg("zero"),
      py::arg("positive"), py::arg("element_size"), py::arg("negative_bits"), py::arg("positive_bits"),
      py::arg("out"));
}

}  // namespace ternzip::bindings
