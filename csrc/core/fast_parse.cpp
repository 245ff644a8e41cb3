#include "core/fast_parse.hpp"

#include <algorithm>
#include <array>

namespace ternzip::fast {

Parse parse_blocks(const ParseTree& tree, const std::int8_t* trits, std::size_t n, std::size_t block_trits) {
  // steps[node][trit + 1]: the node reached.
  std::vector<std::array<std::int16_t, 3>> steps(tree.nodes.size());
  std::int8_t padding = tree.present[0];
  for (unsigned i = 0; i < tree.arity; ++i) {
    const std::int8_t trit = tree.present[i];
    if (trit == 0) padding = 0;
    for (std::size_t node = 0; node < tree.nodes.size(); ++node) {
      steps[node][static_cast<std::size_t>(trit + 1)] =
          static_cast<std::int16_t>(tree.nodes[node].first_child + static_cast<int>(i));
    }
  }
  Parse parse;
  parse.histogram.resize(tree.leaves.size());
  parse.symbols.reserve(n / 2);
  parse.block_starts.push_back(0);
  for (std::size_t start = 0; start < n; start += block_trits) {
    const std::size_t end = std::min(n, start + block_trits);
    std::size_t at = start;
    while (at < end) {
      std::size_t node = 0;
      while (tree.nodes[node].symbol < 0) {
        const std::int8_t trit = at < end ? trits[at] : padding;
        node = static_cast<std::size_t>(steps[node][static_cast<std::size_t>(trit + 1)]);
        ++at;
      }
      const auto symbol = static_cast<std::uint8_t>(tree.nodes[node].symbol);
      ++parse.histogram[symbol];
      parse.symbols.push_back(symbol);
    }
    parse.block_starts.push_back(parse.symbols.size());
  }
  return parse;
}

}  // namespace ternzip::fast
