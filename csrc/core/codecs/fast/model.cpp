#include "core/codecs/fast/model.hpp"

#include <algorithm>

namespace ternzip::fast {
namespace {

// Shifts counts right until their sum stays below 2^32, so that a count times 2^32 fits 64 bits.
std::array<std::uint64_t, 3> probabilities(const TritCounts& counts) {
  std::array<std::uint64_t, 3> scaled = {counts.negative, counts.zero, counts.positive};
  std::uint64_t largest = std::max({scaled[0], scaled[1], scaled[2]});
  unsigned shift = 0;
  while ((largest >> shift) >= (std::uint64_t{1} << 30)) ++shift;
  std::uint64_t total = 0;
  for (std::uint64_t& count : scaled) {
    if (count != 0) count = std::max<std::uint64_t>(count >> shift, 1);
    total += count;
  }
  for (std::uint64_t& count : scaled) count = (count << 32) / total;
  return scaled;
}

}  // namespace

void write_header(const Header& header, std::uint8_t* bytes) noexcept {
  bytes[0] = static_cast<std::uint8_t>(header.lane_bits | (header.adapted ? 0x10u : 0u));
  bytes[1] = static_cast<std::uint8_t>(header.precision);
  bytes[2] = static_cast<std::uint8_t>(header.max_length);
  bytes[3] = static_cast<std::uint8_t>(header.symbol_limit - 1);
  bytes[4] = static_cast<std::uint8_t>(header.block_bits);
  bytes[5] = 0;
}

bool read_header(const std::uint8_t* bytes, Header& header) noexcept {
  header.lane_bits = bytes[0] & 0x0Fu;
  header.adapted = (bytes[0] & 0x10u) != 0;
  header.precision = bytes[1];
  header.max_length = bytes[2];
  header.symbol_limit = bytes[3] + 1u;
  header.block_bits = bytes[4];
  return (bytes[0] & 0xE0u) == 0 && header.lanes() <= kMaxLanes && header.precision >= kMinPrecision &&
         header.precision <= kMaxPrecision && header.max_length >= 1 && header.max_length <= kMaxLength &&
         header.symbol_limit >= 3 && header.block_bits >= kMinBlockBits &&
         header.block_bits <= kMaxBlockBits && bytes[5] == 0;
}

unsigned distinct_trits(const TritCounts& counts) noexcept {
  return (counts.negative != 0 ? 1u : 0u) + (counts.zero != 0 ? 1u : 0u) + (counts.positive != 0 ? 1u : 0u);
}

ParseTree grow_tree(const TritCounts& counts, unsigned symbol_limit, unsigned max_length) {
  const std::array<std::uint64_t, 3> probability = probabilities(counts);
  ParseTree tree;
  for (int trit = -1; trit <= 1; ++trit) {
    if (probability[static_cast<std::size_t>(trit + 1)] != 0) {
      tree.present[tree.arity++] = static_cast<std::int8_t>(trit);
    }
  }
  tree.nodes.reserve(2 * std::size_t{kMaxSymbols});
  tree.leaves.reserve(kMaxSymbols);
  tree.nodes.push_back({.weight = std::uint64_t{1} << 32});

  // A child weighs no more than its parent, and the children by one trit fall in weight as they come, since
  // parents do: of each trit's the first that was not split is the heaviest, so no priority queue is needed.
  std::array<std::size_t, 3> next = {1, 2, 3};  // of each present trit; they lie `arity` apart
  const auto heaviest = [&] {
    std::size_t best = 0;
    for (unsigned i = 0; i < tree.arity; ++i) {
      std::size_t& node = next[i];
      while (node < tree.nodes.size() && tree.nodes[node].length >= max_length) node += tree.arity;
      if (node >= tree.nodes.size()) continue;
      const std::uint64_t weight = tree.nodes[node].weight;
      const std::uint64_t most = best != 0 ? tree.nodes[best].weight : 0;
      if (weight > most || (weight == most && node < best)) best = node;
    }
    return best;
  };
  std::size_t parent = 0;
  for (unsigned leaves = tree.arity; leaves <= symbol_limit; leaves += tree.arity - 1) {
    if (parent != 0) next[(parent - 1) % tree.arity] += tree.arity;
    const std::uint64_t weight = tree.nodes[parent].weight;
    const auto length = static_cast<std::uint8_t>(tree.nodes[parent].length + 1);
    tree.nodes[parent].first_child = static_cast<std::int16_t>(tree.nodes.size());
    for (unsigned i = 0; i < tree.arity; ++i) {
      const auto index = static_cast<std::size_t>(tree.present[i] + 1);
      Node child;
      child.weight = std::max<std::uint64_t>((weight * probability[index]) >> 32, 1);
      child.parent = static_cast<std::int16_t>(parent);
      child.length = length;
      child.trit = tree.present[i];
      tree.nodes.push_back(child);
    }
    parent = heaviest();
    if (parent == 0) break;  // every leaf has the greatest length
  }
  for (std::size_t i = 0; i < tree.nodes.size(); ++i) {
    if (tree.nodes[i].first_child < 0) {
      tree.nodes[i].symbol = static_cast<std::int16_t>(tree.leaves.size());
      tree.leaves.push_back(static_cast<std::int16_t>(i));
    }
  }
  return tree;
}

void write_factors(std::span<const std::uint8_t> factors, std::uint8_t* bytes) noexcept {
  std::fill_n(bytes, factor_bytes(factors.size()), std::uint8_t{0});
  for (std::size_t i = 0; i < factors.size(); ++i) {
    bytes[i / 2] = static_cast<std::uint8_t>(bytes[i / 2] | factors[i] << (4 * (i % 2)));
  }
}

bool read_factors(const std::uint8_t* bytes, std::span<std::uint8_t> factors) noexcept {
  for (std::size_t i = 0; i < 2 * factor_bytes(factors.size()); ++i) {
    const auto factor = static_cast<std::uint8_t>(bytes[i / 2] >> (4 * (i % 2)) & 0xFu);
    if (i < factors.size()) {
      factors[i] = factor;
    } else if (factor != 0) {
      return false;
    }
  }
  return true;
}

std::vector<std::uint32_t> frequencies(const ParseTree& tree, std::span<const std::uint8_t> factors,
                                       unsigned precision) {
  const std::size_t symbols = tree.leaves.size();
  std::vector<std::uint64_t> weights(symbols);
  std::uint64_t total = 0;
  for (std::size_t i = 0; i < symbols; ++i) {
    weights[i] = tree.nodes[static_cast<std::size_t>(tree.leaves[i])].weight;
    if (!factors.empty()) weights[i] *= kFactors[factors[i]];
    total += weights[i];
  }
  // The boundaries are the rounded cumulative weights, moved just enough that every symbol keeps one slot.
  std::vector<std::uint32_t> result(symbols);
  std::uint64_t cumulative = 0;
  std::uint64_t start = 0;
  for (std::size_t i = 0; i < symbols; ++i) {
    cumulative += weights[i];
    const std::uint64_t rounded = ((cumulative << precision) + total / 2) / total;
    const std::uint64_t last = (std::uint64_t{1} << precision) - (symbols - 1 - i);
    const std::uint64_t end = std::min(std::max(rounded, start + 1), last);
    result[i] = static_cast<std::uint32_t>(end - start);
    start = end;
  }
  return result;
}

}  // namespace ternzip::fast
