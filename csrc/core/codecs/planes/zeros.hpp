// Planes with many zero bytes, as pruned tensors have them: a bitmap of the others, and these.
#pragma once

#include <cstddef>
#include <cstdint>

namespace ternzip {

// Bit i % 8 of bitmap[i / 8] becomes 1 where plane[i] is not 0; those bytes go to `rest` in order. The bitmap
// has (size + 7) / 8 bytes, unused bits 0; `rest` has room for kRestOverrun bytes more than there are.
// Returns how many there are. Nothing overlaps.
inline constexpr std::size_t kRestOverrun = 8;
std::size_t split_zeros(const std::uint8_t* plane, std::size_t size, std::uint8_t* bitmap,
                        std::uint8_t* rest) noexcept;

// How many of the first `size` bits are 1; false where an unused bit of the last byte is.
bool count_bitmap(const std::uint8_t* bitmap, std::size_t size, std::size_t& ones) noexcept;

// The inverse of split_zeros: `rest` has `ones` bytes, as many as the bitmap has ones; false where it has
// another number of them, which memory that others write to may have since they were counted.
bool merge_zeros(const std::uint8_t* bitmap, const std::uint8_t* rest, std::size_t ones, std::size_t size,
                 std::uint8_t* plane) noexcept;

}  // namespace ternzip
