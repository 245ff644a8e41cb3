// The strings of the symbols as decoders copy them.
#pragma once

#include <cstddef>
#include <cstdint>

#include "core/codecs/fast/model.hpp"

namespace ternzip::fast {

inline constexpr unsigned kMaxStride = kMaxLength + 1;

// Trits of the longest symbol.
unsigned longest_symbol(const ParseTree& tree) noexcept;

// Bytes of a record: 8, 16, 32 or 64, more than the longest symbol.
unsigned record_stride(unsigned longest) noexcept;

// A record for each symbol, `stride` bytes after the other: its trits, zeros, and in the last byte the number
// of its trits.
void write_records(const ParseTree& tree, unsigned stride, std::uint8_t* records) noexcept;

}  // namespace ternzip::fast
