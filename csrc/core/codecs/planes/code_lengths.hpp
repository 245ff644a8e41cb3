// Which symbol gets how many bits.
#pragma once

#include <array>
#include <cstdint>

#include "core/codecs/planes/huffman.hpp"

namespace ternzip {

inline constexpr unsigned kMaxCodeLength = 12;

using CodeLengths = std::array<std::uint8_t, 256>;  // 0: the symbol does not occur

// The lengths, at most `limit` <= kMaxCodeLength, with the smallest sum of count * length; 2 to 2^limit
// symbols occur. Ties are broken by the symbols' order alone.
CodeLengths code_lengths(const ByteCounts& counts, unsigned limit) noexcept;

// Bits of all codes together.
std::uint64_t coded_bits(const ByteCounts& counts, const CodeLengths& lengths) noexcept;

}  // namespace ternzip
