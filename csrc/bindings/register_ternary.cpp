#include "bindings/elements.hpp"
#include "bindings/registry.hpp"
#include "core/codecs/packed/packed.hpp"
#include "core/tensor/ternary_tensor.hpp"

namespace ternzip::bindings {
namespace py = pybind11;
namespace {

py::tuple as_tuple(const TernaryLevels& levels) {
  return py::make_tuple(levels.is_ternary, levels.negative_bits, levels.positive_bits, levels.counts.negative,
                        levels.counts.zero, levels.counts.positive, levels.negative_zeros);
}

}  // namespace

void register_ternary(py::module_& module) {
  module.def(
      "detect_levels",
      [](std::uintptr_t src, std::size_t count, int dtype, unsigned threads) {
        const Format format = checked_format(dtype);
        TernaryLevels levels;
        {
          py::gil_scoped_release release;
          levels = detect_levels(pointer<const void>(src), count, format, threads);
        }
        return as_tuple(levels);
      },
      py::arg("src"), py::arg("count"), py::arg("dtype"), py::arg("threads") = 1);
  module.def(
      "detect_row_levels",
      [](std::uintptr_t src, std::size_t rows, std::size_t cols, int dtype, std::uintptr_t negative_bits,
         std::uintptr_t positive_bits) {
        const Format format = checked_format(dtype);
        TernaryLevels levels;
        {
          py::gil_scoped_release release;
          levels =
              detect_row_levels(pointer<const void>(src), rows, cols, format,
                                pointer<std::uint64_t>(negative_bits), pointer<std::uint64_t>(positive_bits));
        }
        return as_tuple(levels);
      },
      py::arg("src"), py::arg("rows"), py::arg("cols"), py::arg("dtype"), py::arg("negative_bits"),
      py::arg("positive_bits"));
  module.def(
      "extract_trits",
      [](std::uintptr_t src, std::size_t count, int dtype, std::uintptr_t trits, unsigned threads) {
        const Format format = checked_format(dtype);
        py::gil_scoped_release release;
        extract_trits(pointer<const void>(src), count, format, pointer<std::int8_t>(trits), threads);
      },
      py::arg("src"), py::arg("count"), py::arg("dtype"), py::arg("trits"), py::arg("threads") = 1);
  module.def(
      "put_trits",
      [](std::uintptr_t trits, std::size_t count, int dtype, std::uintptr_t negative_levels,
         std::uintptr_t positive_levels, std::size_t row_size, std::size_t first, std::uintptr_t out) {
        ElementWriter writer = make_writer(dtype, negative_levels, positive_levels, row_size, first, out);
        {
          py::gil_scoped_release release;
          writer.write(pointer<const std::int8_t>(trits), count);
        }
        return written(writer);
      },
      py::arg("trits"), py::arg("count"), py::arg("dtype"), py::arg("negative_levels"),
      py::arg("positive_levels"), py::arg("row_size"), py::arg("first"), py::arg("out"));
  module.def(
      "extract_zero_signs",
      [](std::uintptr_t src, std::size_t count, int dtype, std::uintptr_t signs) {
        const Format format = checked_format(dtype);
        py::gil_scoped_release release;
        return extract_zero_signs(pointer<const void>(src), count, format, pointer<std::int8_t>(signs));
      },
      py::arg("src"), py::arg("count"), py::arg("dtype"), py::arg("signs"));
  module.def(
      "apply_zero_signs",
      [](std::uintptr_t dst, std::size_t count, int dtype, std::uintptr_t signs, std::size_t n_signs) {
        const Format format = checked_format(dtype);
        py::gil_scoped_release release;
        return apply_zero_signs(pointer<void>(dst), count, format, pointer<const std::int8_t>(signs),
                                n_signs);
      },
      py::arg("dst"), py::arg("count"), py::arg("dtype"), py::arg("signs"), py::arg("n_signs"));
  module.def(
      "count_trits",
      [](std::uintptr_t trits, std::size_t count) {
        CheckedTritCounts counts;
        {
          py::gil_scoped_release release;
          counts = count_trits(pointer<const std::int8_t>(trits), count);
        }
        return py::make_tuple(counts.negative, counts.zero, counts.positive, counts.invalid);
      },
      py::arg("trits"), py::arg("count"));
  module.def(
      "pack_trits",
      [](std::uintptr_t trits, std::size_t count, std::uintptr_t packed) {
        py::gil_scoped_release release;
        pack_trits(pointer<const std::int8_t>(trits), count, pointer<std::uint8_t>(packed));
      },
      py::arg("trits"), py::arg("count"), py::arg("packed"));
  module.def(
      "unpack_trits",
      [](std::uintptr_t packed, std::size_t count, std::uintptr_t trits) {
        py::gil_scoped_release release;
        return unpack_trits(pointer<const std::uint8_t>(packed), count, pointer<std::int8_t>(trits));
      },
      py::arg("packed"), py::arg("count"), py::arg("trits"));
}

}  // namespace ternzip::bindings
