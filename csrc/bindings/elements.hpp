// Element types and writers as the bindings pass them.
#pragma once

#include <pybind11/pybind11.h>

#include <cstdint>
#include <stdexcept>
#include <string>
#include <tuple>

#include "bindings/registry.hpp"
#include "core/tensor/element_writer.hpp"

namespace ternzip::bindings {

inline Format checked_format(int dtype) {
  Format format;
  if (!format_of(dtype, format))
    throw std::invalid_argument("no dtype has the code " + std::to_string(dtype));
  return format;
}

// Elements of a row, and rows and elements of a block of levels.
using GridRow = std::tuple<std::size_t, std::size_t, std::size_t>;

inline ElementWriter make_writer(int dtype, std::uintptr_t negative, std::uintptr_t positive,
                                 const GridRow& grid, std::size_t first, std::uintptr_t out) {
  const auto [row_size, height, width] = grid;
  if (height == 0 || width == 0 || width > row_size) {
    throw std::invalid_argument("expected blocks of at least one element, no wider than a row");
  }
  return ElementWriter(checked_format(dtype), pointer<const void>(negative), pointer<const void>(positive),
                       {row_size, height, width}, first, pointer<void>(out));
}

// (negative, zero, positive, invalid, (block, symbol) of the first symbol that lacks a level or None)
inline pybind11::tuple written(const ElementWriter& writer) {
  const CheckedTritCounts& counts = writer.counts();
  pybind11::object missing = pybind11::none();
  if (writer.missing_level_block() != ElementWriter::kNoBlock) {
    missing = pybind11::make_tuple(writer.missing_level_block(), writer.missing_level_symbol());
  }
  return pybind11::make_tuple(counts.negative, counts.zero, counts.positive, counts.invalid, missing);
}

}  // namespace ternzip::bindings
