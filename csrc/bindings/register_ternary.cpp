#include "bindings/elements.hpp"
#include "bindings/registry.hpp"
#include "bindings/released_gil.hpp"
#include "core/codecs/packed/packed.hpp"
#include "core/tensor/block_levels.hpp"
#include "core/tensor/ternary_tensor.hpp"

namespace ternzip::bindings {
namespace py = pybind11;
namespace {

py::bytes as_bytes(const unsigned char* data, std::size_t size) {
  return py::bytes(reinterpret_cast<const char*>(data), size);
}

}  // namespace

void register_ternary(py::module_& module) {
  module.def(
      "detect_levels",
      [](std::uintptr_t src, std::size_t rows, std::size_t row_size, int dtype,
         unsigned threads) -> py::object {
        const Format format = checked_format(dtype);
        BlockLevels found;
        {
          const ReleasedGil released;
          found = detect_block_levels(pointer<const void>(src), rows, row_size, format, threads);
        }
        if (!found.is_ternary) return py::none();
        const std::size_t bytes = found.blocks * format.width;
        return py::make_tuple(found.grid.height, found.grid.width, as_bytes(found.negative.get(), bytes),
                              as_bytes(found.positive.get(), bytes), found.counts.negative, found.counts.zero,
                              found.counts.positive, found.negative_zeros);
      },
      py::arg("src"), py::arg("rows"), py::arg("row_size"), py::arg("dtype"), py::arg("threads") = 1);
  module.def(
      "extract_trits",
      [](std::uintptr_t src, std::size_t count, int dtype, std::uintptr_t trits, unsigned threads) {
        const Format format = checked_format(dtype);
        const ReleasedGil released;
        extract_trits(pointer<const void>(src), count, format, pointer<std::int8_t>(trits), threads);
      },
      py::arg("src"), py::arg("count"), py::arg("dtype"), py::arg("trits"), py::arg("threads") = 1);
  module.def(
      "put_trits",
      [](std::uintptr_t trits, std::size_t count, int dtype, std::uintptr_t negative_levels,
         std::uintptr_t positive_levels, const GridRow& grid, std::size_t first, std::uintptr_t out) {
        ElementWriter writer = make_writer(dtype, negative_levels, positive_levels, grid, first, out);
        {
          const ReleasedGil released;
          writer.write(pointer<const std::int8_t>(trits), count);
        }
        return written(writer);
      },
      py::arg("trits"), py::arg("count"), py::arg("dtype"), py::arg("negative_levels"),
      py::arg("positive_levels"), py::arg("grid"), py::arg("first"), py::arg("out"));
  module.def(
      "extract_zero_signs",
      [](std::uintptr_t src, std::size_t count, int dtype, std::uintptr_t signs, std::size_t room) {
        const Format format = checked_format(dtype);
        const ReleasedGil released;
        return extract_zero_signs(pointer<const void>(src), count, format, pointer<std::int8_t>(signs), room);
      },
      py::arg("src"), py::arg("count"), py::arg("dtype"), py::arg("signs"), py::arg("room"));
  module.def(
      "apply_zero_signs",
      [](std::uintptr_t dst, std::size_t count, int dtype, std::uintptr_t signs, std::size_t n_signs) {
        const Format format = checked_format(dtype);
        const ReleasedGil released;
        return apply_zero_signs(pointer<void>(dst), count, format, pointer<const std::int8_t>(signs),
                                n_signs);
      },
      py::arg("dst"), py::arg("count"), py::arg("dtype"), py::arg("signs"), py::arg("n_signs"));
  module.def(
      "count_trits",
      [](std::uintptr_t trits, std::size_t count) {
        CheckedTritCounts counts;
        {
          const ReleasedGil released;
          counts = count_trits(pointer<const std::int8_t>(trits), count);
        }
        return py::make_tuple(counts.negative, counts.zero, counts.positive, counts.invalid);
      },
      py::arg("trits"), py::arg("count"));
  module.def(
      "pack_trits",
      [](std::uintptr_t trits, std::size_t count, std::uintptr_t packed) {
        const ReleasedGil released;
        pack_trits(pointer<const std::int8_t>(trits), count, pointer<std::uint8_t>(packed));
      },
      py::arg("trits"), py::arg("count"), py::arg("packed"));
  module.def(
      "unpack_trits",
      [](std::uintptr_t packed, std::size_t count, std::uintptr_t trits) {
        const ReleasedGil released;
        return unpack_trits(pointer<const std::uint8_t>(packed), count, pointer<std::int8_t>(trits));
      },
      py::arg("packed"), py::arg("count"), py::arg("trits"));
}

}  // namespace ternzip::bindings
