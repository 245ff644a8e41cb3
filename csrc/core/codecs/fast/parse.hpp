// Cutting trits into the symbols of a parse tree.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "core/codecs/fast/model.hpp"

namespace ternzip::fast {

struct Parse {
  std::unique_ptr<std::uint8_t[]> symbols;  // those of a block start at the index of its first trit
  std::vector<std::size_t> counts;          // symbols of each block
  std::vector<std::uint32_t> histogram;     // by symbol
};

// Each block of block_trits trits (the last may be shorter) is cut from its own start; where its end cuts a
// symbol short, the symbol is the one reached by zeros, or by the smallest trit of a tensor without zeros.
// The trits all occur in the tensor.
Parse parse_blocks(const ParseTree& tree, const std::int8_t* trits, std::size_t n, std::size_t block_trits);

}  // namespace ternzip::fast
