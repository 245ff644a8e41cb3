#include "core/codecs/planes/code_lengths.hpp"

#include <algorithm>
#include <cstddef>
#include <vector>

namespace ternzip {

// Package-merge (Larmore and Hirschberg, "A fast algorithm for optimal length-limited Huffman codes", 1990).
// Each level of depth offers every symbol once, as a leaf, and the pairs ("packages") of the level below.
// Taking the 2 (n - 1) lightest of the top level, and what their packages are made of all the way down, takes
// each symbol as often as its code has bits.
CodeLengths code_lengths(const ByteCounts& counts, unsigned limit) {
  std::vector<std::uint8_t> symbols;  // by weight
  for (unsigned symbol = 0; symbol < 256; ++symbol) {
    if (counts[symbol] != 0) symbols.push_back(static_cast<std::uint8_t>(symbol));
  }
  std::stable_sort(symbols.begin(), symbols.end(),
                   [&](std::uint8_t a, std::uint8_t b) { return counts[a] < counts[b]; });
  const std::size_t n = symbols.size();

  std::array<std::vector<bool>, kMaxCodeLength> is_leaf;  // of the items of each level, lightest first
  std::vector<std::uint64_t> weights;                     // of the level in hand
  for (unsigned level = 0; level < limit; ++level) {
    const std::vector<std::uint64_t> below = std::move(weights);
    weights.clear();
    std::size_t leaf = 0, package = 0;
    const std::size_t packages = below.size() / 2;
    while (leaf < n || package < packages) {
      const std::uint64_t pair = package < packages ? below[2 * package] + below[2 * package + 1] : 0;
      const bool take_leaf = leaf < n && (package == packages || counts[symbols[leaf]] <= pair);
      weights.push_back(take_leaf ? counts[symbols[leaf++]] : pair);
      package += take_leaf ? 0 : 1;
      is_leaf[level].push_back(take_leaf);
    }
  }

  CodeLengths lengths{};
  std::size_t wanted = 2 * (n - 1);
  for (unsigned level = limit; level-- > 0;) {
    std::size_t leaves = 0;
    for (std::size_t item = 0; item < wanted; ++item) leaves += is_leaf[level][item] ? 1 : 0;
    for (std::size_t i = 0; i < leaves; ++i) ++lengths[symbols[i]];
    wanted = 2 * (wanted - leaves);
  }
  return lengths;
}

std::uint64_t coded_bits(const ByteCounts& counts, const CodeLengths& lengths) noexcept {
  std::uint64_t bits = 0;
  for (std::size_t symbol = 0; symbol < 256; ++symbol) bits += std::uint64_t{counts[symbol]} * lengths[symbol];
  return bits;
}

}  // namespace ternzip
