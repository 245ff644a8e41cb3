// What the encoder chooses by: estimates in integer arithmetic, the same on every machine.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "core/codecs/fast/fast.hpp"
#include "core/codecs/fast/model.hpp"

namespace ternzip::fast {

// The larger the tree the more trits a symbol yields, until its smallest leaves are too improbable for the
// precision: halves it while that gains 0.1 %. Takes a higher precision, whose decoder is slower, where that
// gains 0.2 %; and the shortest limit on the length that keeps most of the yield, since longer symbols are
// copied in wider moves.
void choose_model(const TritCounts& counts, const Options& options, Header& header);

// Blocks and lanes for a model that is chosen.
void choose_layout(const TritCounts& counts, std::size_t n, const Options& options, Header& header);

// The corrections that turn the tree's weights into what the symbols really occur, or none if they do not
// pay.
std::vector<std::uint8_t> choose_factors(const ParseTree& tree, const std::vector<std::uint32_t>& histogram,
                                         unsigned precision);

// n H(p) for fewer than 2^31 trits, in bytes.
std::uint64_t entropy_bytes(const TritCounts& counts) noexcept;

}  // namespace ternzip::fast
