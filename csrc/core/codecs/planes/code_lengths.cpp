#include "core/codecs/planes/code_lengths.hpp"

#include <algorithm>
#include <cstddef>

namespace ternzip {

// Package-merge (Larmore and Hirschberg, "A fast algorithm for optimal length-limited Huffman codes", 1990).
// Each level of depth offers every symbol once, as a leaf, and the pairs ("packages") of the level below.
// Taking the 2 (n - 1) lightest of the top level, and what their packages are made of all the way down, takes
// each symbol as often as its code has bits.
CodeLengths code_lengths(const ByteCounts& counts, unsigned limit) noexcept {
  std::array<std::uint8_t, 256> symbols;  // by weight
  std::size_t n = 0;
  for (unsigned symbol = 0; symbol < 256; ++symbol) {
    if (counts[symbol] != 0) symbols[n++] = static_cast<std::uint8_t>(symbol);
  }
  std::sort(symbols.begin(), symbols.begin() + n, [&](std::uint8_t a, std::uint8_t b) {
    return counts[a] < counts[b] || (counts[a] == counts[b] && a < b);
  });

  constexpr std::size_t kMaxItems = 2 * 256;
  bool is_leaf[kMaxCodeLength][kMaxItems];  // of the items of each level, lightest first
  std::uint64_t weights[2][kMaxItems];      // of the level in hand and of the one below, in turn
  std::size_t below = 0;                    // items of the level below
  for (unsigned level = 0; level < limit; ++level) {
    const std::uint64_t* const lower = weights[(level + 1) % 2];
    std::uint64_t* const weight = weights[level % 2];
    const std::size_t packages = below / 2;
    std::size_t leaf = 0, package = 0, items = 0;
    for (; leaf < n || package < packages; ++items) {
      const std::uint64_t pair = package < packages ? lower[2 * package] + lower[2 * package + 1] : 0;
      const bool take_leaf = leaf < n && (package == packages || counts[symbols[leaf]] <= pair);
      weight[items] = take_leaf ? counts[symbols[leaf++]] : pair;
      package += take_leaf ? 0 : 1;
      is_leaf[level][items] = take_leaf;
    }
    below = items;
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
  for (std::size_t symbol = 0; symbol < 256; ++symbol)
    bits += std::uint64_t{counts[symbol]} * lengths[symbol];
  return bits;
}

}  // namespace ternzip
