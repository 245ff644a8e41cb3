#include "core/codecs/fast/choices.hpp"

#include <algorithm>
#include <array>
#include <bit>
#include <utility>

namespace ternzip::fast {
namespace {

// log2(1 + i / 256) in units of 2^-16, rounded down, by squaring: choices rest on it, so it must not depend
// on a libm.
constexpr std::array<std::int32_t, 257> make_log2_table() {
  std::array<std::int32_t, 257> table{};
  for (std::size_t i = 0; i < 256; ++i) {
    std::uint64_t mantissa = (256 + i) << 23;  // [2^31, 2^32)
    for (int bit = 0; bit < 16; ++bit) {
      mantissa = (mantissa * mantissa) >> 31;
      const bool one = mantissa >> 32 != 0;
      if (one) mantissa >>= 1;
      table[i] = table[i] * 2 + (one ? 1 : 0);
    }
  }
  table[256] = 1 << 16;
  return table;
}

constexpr std::array<std::int32_t, 257> kLog2 = make_log2_table();

// log2 of v >= 1 in units of 2^-16, too small by at most two of them.
std::int64_t log2_fixed(std::uint64_t v) noexcept {
  const auto exponent = static_cast<int>(std::bit_width(v)) - 1;
  const std::uint64_t mantissa = exponent > 31 ? v >> (exponent - 31) : v << (31 - exponent);
  const std::size_t index = mantissa >> 23 & 0xFF;
  const auto fraction = static_cast<std::int64_t>(mantissa & 0x7FFFFF);
  const std::int64_t low = kLog2[index];
  return (std::int64_t{exponent} << 16) + low + ((kLog2[index + 1] - low) * fraction >> 23);
}

// What a symbol and a trit of the tensor, drawn independently with its counts, are expected to yield and
// cost.
std::uint64_t trits_per_symbol(const ParseTree& tree) {  // in units of 2^-32
  std::uint64_t sum = 0;
  for (const std::int16_t leaf : tree.leaves) {
    const Node& node = tree.nodes[static_cast<std::size_t>(leaf)];
    sum += node.weight * node.length;  // below 2^32 * 64
  }
  return sum;
}

std::uint64_t bits_per_trit(const ParseTree& tree, unsigned precision) {  // in units of 2^-32
  const std::vector<std::uint32_t> frequency = frequencies(tree, {}, precision);
  std::uint64_t bits = 0;
  for (std::size_t symbol = 0; symbol < tree.leaves.size(); ++symbol) {
    const Node& leaf = tree.nodes[static_cast<std::size_t>(tree.leaves[symbol])];
    const std::int64_t cost = (std::int64_t{precision} << 16) - log2_fixed(frequency[symbol]);
    bits += (leaf.weight * static_cast<std::uint64_t>(cost)) >> 16;  // below 2^32 * 16
  }
  return (bits << 24) / (trits_per_symbol(tree) >> 8);
}

}  // namespace

void choose_model(const TritCounts& counts, const Options& options, Header& header) {
  header.max_length = options.max_length;
  if (header.max_length == 0) {
    const std::uint64_t most = trits_per_symbol(grow_tree(counts, kMaxSymbols, kMaxLength));
    for (header.max_length = 7; header.max_length < kMaxLength;
         header.max_length = 2 * header.max_length + 1) {
      if (trits_per_symbol(grow_tree(counts, kMaxSymbols, header.max_length)) / 3 * 4 >= most) break;
    }
  }
  const auto choose_limit = [&](unsigned precision, unsigned& limit) {
    limit = kMaxSymbols;
    std::uint64_t bits = bits_per_trit(grow_tree(counts, limit, header.max_length), precision);
    while (limit > 4) {
      const std::uint64_t halved = bits_per_trit(grow_tree(counts, limit / 2, header.max_length), precision);
      if (halved + halved / 1024 >= bits) break;
      limit /= 2;
      bits = halved;
    }
    return bits;
  };
  header.precision = options.precision != 0 ? options.precision : 12;
  const std::uint64_t bits = choose_limit(header.precision, header.symbol_limit);
  if (options.precision == 0) {
    unsigned limit = 0;
    if (choose_limit(kMaxPrecision, limit) < bits - bits / 512) {
      header.symbol_limit = limit;
      header.precision = kMaxPrecision;
    }
  }
}

void choose_layout(const TritCounts& counts, std::size_t n, const Options& options, Header& header) {
  const ParseTree tree = grow_tree(counts, header.symbol_limit, header.max_length);
  const std::uint64_t bits = bits_per_trit(tree, header.precision);
  // A block of 16 KiB keeps what it costs beside its words (about 40 bytes) below 0.3 %.
  unsigned block_bits = kMinBlockBits;
  while (block_bits < kMaxBlockBits && (bits << block_bits) >> 32 < 16 * 1024 * 8) ++block_bits;
  header.block_bits = options.block_bits != 0 ? options.block_bits : block_bits;
  const std::uint64_t block = std::min<std::uint64_t>(n, std::uint64_t{1} << header.block_bits);
  const std::uint64_t block_bytes = (block * bits) >> 35;
  unsigned lanes = 1;
  for (const auto& [bytes, count] : {std::pair{64u, 2u}, {256u, 8u}, {1024u, 16u}, {3072u, 32u}}) {
    if (block_bytes >= bytes) lanes = count;
  }
  header.lane_bits = static_cast<unsigned>(std::countr_zero(options.lanes != 0 ? options.lanes : lanes));
}

std::vector<std::uint8_t> choose_factors(const ParseTree& tree, const std::vector<std::uint32_t>& histogram,
                                         unsigned precision) {
  std::uint64_t total = 0;
  for (const std::uint32_t count : histogram) total += count;
  std::vector<std::uint8_t> factors(tree.leaves.size());
  for (std::size_t symbol = 0; symbol < factors.size(); ++symbol) {
    if (histogram[symbol] == 0) continue;
    const std::uint64_t weight = tree.nodes[static_cast<std::size_t>(tree.leaves[symbol])].weight;
    const std::int64_t ratio = log2_fixed(histogram[symbol]) + log2_fixed(std::uint64_t{1} << 32) -
                               log2_fixed(weight) - log2_fixed(total);
    const std::int64_t index = kUnitFactor + ((ratio * 4 + (1 << 15)) >> 16);
    factors[symbol] = static_cast<std::uint8_t>(std::clamp<std::int64_t>(index, 0, 15));
  }
  const auto cost = [&](const std::vector<std::uint32_t>& frequency) {
    std::int64_t bits = 0;
    for (std::size_t symbol = 0; symbol < factors.size(); ++symbol) {
      bits += histogram[symbol] * ((std::int64_t{precision} << 16) - log2_fixed(frequency[symbol]));
    }
    return bits >> 16;
  };
  const std::int64_t table_bits = static_cast<std::int64_t>(factors.size()) * 4 + 16;
  if (cost(frequencies(tree, factors, precision)) + table_bits < cost(frequencies(tree, {}, precision))) {
    return factors;
  }
  return {};
}

std::uint64_t entropy_bytes(const TritCounts& counts) noexcept {
  const std::uint64_t total = counts.negative + counts.zero + counts.positive;
  std::int64_t bits = 0;
  for (const std::uint64_t count : {counts.negative, counts.zero, counts.positive}) {
    if (count != 0) bits += static_cast<std::int64_t>(count) * (log2_fixed(total) - log2_fixed(count));
  }
  return static_cast<std::uint64_t>(std::max<std::int64_t>(bits, 0)) >> 19;
}

}  // namespace ternzip::fast
