// Element types and writers as the bindings pass them.
#pragma once

#include <pybind11/pybind11.h>

#include <cstdint>
#include <stdexcept>
#include <string>

#include "bindings/registry.hpp"
#include "core/tensor/element_writer.hpp"

namespace ternzip::bindings {

inline Format checked_format(int dtype) {
  Format format;
  if (!format_of(dtype, format))
    throw std::invalid_argument("no dtype has the code " + std::to_string(dtype));
  return format;
}

inline ElementWriter make_writer(int dtype, std::uintptr_t negative, std::uintptr_t positive,
                                 std::size_t row_size, std::size_t first, std::uintptr_t out) {
  return ElementWriter(checked_format(dtype), pointer<const std::uint64_t>(negative),
                       pointer<const std::uint64_t>(positive), row_size, first, pointer<void>(out));
}

// (negative, zero, positive, invalid, (row, symbol) of the first symbol that lacks a level or None)
inline pybind11::tuple written(const ElementWriter& writer) {
  const CheckedTritCounts& counts = writer.counts();
  pybind11::object missing = pybind11::none();
  if (writer.missing_level_row() != ElementWriter::kNoRow) {
    missing = pybind11::make_tuple(writer.missing_level_row(), writer.missing_level_symbol());
  }
  return pybind11::make_tuple(counts.negative, counts.zero, counts.positive, counts.invalid, missing);
}

}  // namespace ternzip::bindings
