// Element types and sinks as the bindings pass them.
#pragma once

#include <pybind11/pybind11.h>

#include <cstdint>
#include <stdexcept>
#include <string>

#include "bindings/registry.hpp"
#include "core/tensor/element_sink.hpp"

namespace ternzip::bindings {

inline Format checked_format(int dtype) {
  Format format;
  if (!format_of(dtype, format))
    throw std::invalid_argument("no dtype has the code " + std::to_string(dtype));
  return format;
}

inline ElementSink make_sink(int dtype, std::uintptr_t negative, std::uintptr_t positive,
                             std::size_t row_size, std::size_t first, std::uintptr_t out) {
  return ElementSink(checked_format(dtype), pointer<const std::uint64_t>(negative),
                     pointer<const std::uint64_t>(positive), row_size, first, pointer<void>(out));
}

// (negative, zero, positive, invalid, (row, symbol) of the first symbol that lacks a level or None)
inline pybind11::tuple what_was_put(const ElementSink& sink) {
  const TritCounts& counts = sink.counts();
  pybind11::object lacking = pybind11::none();
  if (sink.lacking_row() != ElementSink::kNoRow) {
    lacking = pybind11::make_tuple(sink.lacking_row(), sink.lacking_symbol());
  }
  return pybind11::make_tuple(counts.neg, counts.zero, counts.pos, counts.invalid, lacking);
}

}  // namespace ternzip::bindings
