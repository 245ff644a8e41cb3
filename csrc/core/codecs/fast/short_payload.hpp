// Payloads without blocks, for small tensors: a byte of header and one state with its words.
//
// The model follows from the counts, and the state begins at 0, so that a payload holds about three bytes
// beside the information of its trits.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "core/codecs/fast/fast.hpp"
#include "core/codecs/fast/output.hpp"

namespace ternzip::fast {

// Whether the first byte of a payload says that it is a short one.
bool is_short(const std::uint8_t* payload, std::size_t size) noexcept;

// Whether the encoder makes a short payload of n trits with counts, at least two of which are not zero.
bool prefers_short(std::size_t n, const TritCounts& counts) noexcept;

// Of trits that are known to agree with the counts.
std::vector<std::uint8_t> encode_short(const std::int8_t* trits, std::size_t n, const TritCounts& counts);

// Decodes n > 0 trits of a tensor in which two values or more occur; as decode (fast.hpp). The output is not
// flushed.
bool decode_short(const std::uint8_t* payload, std::size_t size, std::size_t n, const TritCounts& counts,
                  Output& out);

}  // namespace ternzip::fast
