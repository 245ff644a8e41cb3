// What stands in a `fast` payload before its words: model and place of every block.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "core/codecs/fast/model.hpp"

namespace ternzip::fast {

// The states of a block, followed by its words.
struct BlockEntry {
  std::size_t begin;  // of the states, in the payload
  std::uint32_t words;
  std::uint32_t symbols;  // interleaved ones; the tail is not counted
  std::uint32_t trits;
};

struct Layout {
  Header header;
  ParseTree tree;
  std::vector<std::uint32_t> frequency;  // by symbol
  std::vector<BlockEntry> blocks;        // end to end, up to the end of the payload
};

// Reads the payload in blocks (model.hpp) of n > 0 trits, at most kMaxTrits of them, of a tensor in which two
// values or more occur. False if it cannot be one; then `layout` is unspecified.
bool read_layout(const std::uint8_t* payload, std::size_t size, std::size_t n, const TritCounts& counts,
                 Layout& layout);

}  // namespace ternzip::fast
