// Five trits in a byte: byte = sum over j of (trit_j + 1) * 3^j, j = 0 first, at most 242. The last byte
// is filled up with the trit 0. Where only two of the trits occur, eight in a byte: docs/FORMAT.md,
// section 7.1.
#pragma once

#include <cstddef>
#include <cstdint>

namespace ternzip {

constexpr std::size_t packed_size(std::size_t n) noexcept { return n / 5 + (n % 5 != 0 ? 1 : 0); }

// Writes packed_size(n) bytes. The trits must be in {-1, 0, +1}; others give a meaningless byte.
void pack_trits(const std::int8_t* trits, std::size_t n, std::uint8_t* packed) noexcept;

// Reads packed_size(n) bytes, writes n trits, all in {-1, 0, +1}. False if a byte exceeds 242 or a trit of
// the filling is not 0.
bool unpack_trits(const std::uint8_t* packed, std::size_t n, std::int8_t* trits) noexcept;

constexpr std::size_t packed_bits_size(std::size_t n) noexcept { return n / 8 + (n % 8 != 0 ? 1 : 0); }

// Reads packed_bits_size(n) bytes, lowest bits first; writes n trits, `low` for a bit of 0 and `high` for 1.
// False if an unused bit of the last byte is 1.
bool unpack_bits(const std::uint8_t* packed, std::size_t n, std::int8_t low, std::int8_t high,
                 std::int8_t* trits) noexcept;

}  // namespace ternzip
