// The `static` codec: order-0 coding with one distribution a tensor, by an asymmetric numeral system with a
// 64-bit state and 32-bit words. docs/FORMAT.md, section 7.2, states its arithmetic, which is on integers
// throughout. Only the decoder is here; the encoder is the Python library constriction.
#pragma once

#include <cstddef>
#include <cstdint>

#include "core/base/trit_counts.hpp"

namespace ternzip::static_codec {

// Decodes n trits of a tensor in which at least two of the three occur. False if the payload ends in a zero
// byte, or not with its last symbol (what `out` then holds is unspecified). Takes time in proportion to n,
// whatever the payload. Throws nothing.
bool decode(const std::uint8_t* payload, std::size_t size, std::size_t n, const TritCounts& counts,
            std::int8_t* out) noexcept;

}  // namespace ternzip::static_codec
