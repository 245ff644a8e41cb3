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

// Widths that can be split: 1, 2, 4 and 8 bytes. Any other width leaves the output untouched and
// returns false. `src` and `dst` hold count * width bytes each and do not overlap; no alignment needed.
bool split_planes(const std::uint8_t* src, std::size_t count, unsigned width, bool rotate,
                  std::uint8_t* dst) noexcept;

// The inverse of split_planes.
bool merge_planes(const std::uint8_t* src, std::size_t count, unsigned width, bool rotate,
                  std::uint8_t* dst) noexcept;

}  // namespace ternzip
