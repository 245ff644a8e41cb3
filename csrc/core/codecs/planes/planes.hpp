// Byte planes: the reversible shuffle that makes floating-point tensors compressible.
//
// Plane j holds byte j of every element, from the lowest on, so that the slowly varying exponents meet each
// other. Each element is first rotated left, as an unsigned integer of its width in the host's byte order:
// by 1, the sign moves to the lowest bit and an IEEE exponent of eight bits fills the top byte exactly.
#pragma once

#include <cstddef>
#include <cstdint>

namespace ternzip {

// `src` holds count * width bytes; planes[0 .. width) have `count` bytes each. Nothing overlaps, nothing
// needs alignment. A std::invalid_argument unless width is 1, 2, 4 or 8 and rotation < 8 * width.
void split_planes(const void* src, std::size_t count, unsigned width, unsigned rotation,
                  std::uint8_t* const* planes);

// The inverse of split_planes.
void merge_planes(const std::uint8_t* const* planes, std::size_t count, unsigned width, unsigned rotation,
                  void* dst);

// Whether strings of 32 bytes and more, from one element to another, occur more than once in `count`
// elements, at whatever distance: a sign that a match finder has something to find. Samples about one string
// in 1024, so that a few thousand elements that are repeated are found, and a few are not. A
// std::invalid_argument unless width is 1, 2, 4 or 8.
bool has_repeats(const void* src, std::size_t count, unsigned width);

}  // namespace ternzip
