#include "core/codecs/fast/records.hpp"

#include <algorithm>
#include <bit>
#include <cstring>

namespace ternzip::fast {

unsigned longest_symbol(const ParseTree& tree) noexcept {
  unsigned longest = 0;
  for (const std::int16_t leaf : tree.leaves) {
    longest = std::max<unsigned>(longest, tree.nodes[static_cast<std::size_t>(leaf)].length);
  }
  return longest;
}

unsigned record_stride(unsigned longest) noexcept { return std::max(8u, std::bit_ceil(longest + 1)); }

void write_records(const ParseTree& tree, unsigned stride, std::uint8_t* records) noexcept {
  // Parents stand before their children: each string is its parent's and one trit more.
  std::uint8_t strings[2 * kMaxSymbols][kMaxStride];
  std::memset(strings[0], 0, stride);
  for (std::size_t i = 0; i < tree.nodes.size(); ++i) {
    const Node& node = tree.nodes[i];
    if (node.parent >= 0) {
      std::memcpy(strings[i], strings[node.parent], stride);
      strings[i][node.length - 1] = static_cast<std::uint8_t>(node.trit);
    }
    if (node.symbol >= 0) {
      std::uint8_t* const record = records + static_cast<std::size_t>(node.symbol) * stride;
      std::memcpy(record, strings[i], stride);
      record[stride - 1] = node.length;
    }
  }
}

}  // namespace ternzip::fast
