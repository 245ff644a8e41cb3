// Byte planes: the reversible shuffle that makes floating-point tensors compressible.
//
// Plane j holds byte j of every element, so that the slowly varying exponents meet each other.
// With `rotate`, each element is first rotated left by one bit (as an unsigned integer of its width):
// the sign moves to the lowest bit and an IEEE exponent of eight bits fills the top byte exactly.
// Elements are little-endian on every host.
#pragma once

#include <cstddef>
#include <cstdint>

namespace ternzip {

// Widths that can be split: 1, 2, 4 and 8 bytes; any other is a std::invalid_argument. `src` and `dst` hold
// count * width bytes each and do not overlap; no alignment needed.
void split_planes(const std::uint8_t* src, std::size_t count, unsigned width, bool rotate, std::uint8_t* dst);

// The inverse of split_planes.
void merge_planes(const std::uint8_t* src, std::size_t count, unsigned width, bool rotate, std::uint8_t* dst);

}  // namespace ternzip
