#include <algorithm>
#include <array>
#include <bit>
#include <cstddef>
#include <utility>
#include <vector>

#include "core/bytes.hpp"
#include "core/fast.hpp"
#include "core/fast_model.hpp"
#include "core/fast_parse.hpp"

namespace ternzip {
namespace fast {
namespace {

// log2 of v >= 1 in units of 2^-16, rounded down: choices rest on it, so it must not depend on a libm.
std::int64_t log2_fixed(std::uint64_t v) noexcept {
  const auto exponent = static_cast<int>(std::bit_width(v)) - 1;
  std::uint64_t mantissa = exponent > 31 ? v >> (exponent - 31) : v << (31 - exponent);  // [2^31, 2^32)
  std::int64_t result = exponent;
  for (int i = 0; i < 16; ++i) {
    mantissa = (mantissa * mantissa) >> 31;
    const bool bit = mantissa >> 32 != 0;
    if (bit) mantissa >>= 1;
    result = result * 2 + (bit ? 1 : 0);
  }
  return result;
}

// What a model expects of trits drawn independently with the tensor's counts.
struct Expectation {
  std::uint64_t trits_per_symbol = 0;  // in units of 2^-32
  std::uint64_t bits_per_trit = 0;     // in units of 2^-32
};

Expectation expect(const ParseTree& tree, unsigned precision) {
  const std::vector<std::uint32_t> frequency = frequencies(tree, {}, precision);
  std::uint64_t trits = 0;
  std::uint64_t bits = 0;
  for (std::size_t symbol = 0; symbol < tree.leaves.size(); ++symbol) {
    const Node& leaf = tree.nodes[static_cast<std::size_t>(tree.leaves[symbol])];
    const std::int64_t cost = (std::int64_t{precision} << 16) - log2_fixed(frequency[symbol]);
    trits += leaf.weight * leaf.length;                              // below 2^32 * 64
    bits += (leaf.weight * static_cast<std::uint64_t>(cost)) >> 16;  // below 2^32 * 16
  }
  return {trits, (bits << 24) / (trits >> 8)};
}

// The larger the tree the more trits a symbol yields, until its smallest leaves are too improbable for the
// precision: takes the largest within 0.1 % of the best size, and a higher precision (whose decoder is
// slower) where that gains 0.2 %. The shortest limit on the length is taken that keeps most of the yield,
// since longer symbols are copied in wider moves.
void choose_model(const TensorCounts& counts, const FastOptions& options, Header& header) {
  constexpr std::array<unsigned, 7> kLimits = {4, 8, 16, 32, 64, 128, 256};
  const auto expected = [&](unsigned limit, unsigned length, unsigned precision) {
    return expect(grow_tree(counts, limit, length), precision);
  };
  const auto best_limit = [&](unsigned length, unsigned precision, std::uint64_t& bits) {
    std::array<std::uint64_t, kLimits.size()> costs;
    for (std::size_t i = 0; i < costs.size(); ++i) {
      costs[i] = expected(kLimits[i], length, precision).bits_per_trit;
    }
    bits = *std::min_element(costs.begin(), costs.end());
    std::size_t i = costs.size() - 1;
    while (costs[i] > bits + bits / 1024) --i;
    return kLimits[i];
  };
  header.max_length = options.max_length;
  if (header.max_length == 0) {
    const std::uint64_t most = expected(kMaxSymbols, kMaxLength, kMaxPrecision).trits_per_symbol;
    for (header.max_length = 7; header.max_length < kMaxLength;
         header.max_length = 2 * header.max_length + 1) {
      if (expected(kMaxSymbols, header.max_length, kMaxPrecision).trits_per_symbol / 3 * 4 >= most) break;
    }
  }
  std::uint64_t bits = 0;
  header.precision = options.precision != 0 ? options.precision : 12;
  header.symbol_limit = best_limit(header.max_length, header.precision, bits);
  if (options.precision == 0) {
    std::uint64_t fine_bits = 0;
    const unsigned limit = best_limit(header.max_length, kMaxPrecision, fine_bits);
    if (bits - bits / 512 > fine_bits) {
      header.symbol_limit = limit;
      header.precision = kMaxPrecision;
    }
  }
}

void choose_layout(const TensorCounts& counts, std::size_t n, const FastOptions& options, Header& header) {
  const ParseTree tree = grow_tree(counts, header.symbol_limit, header.max_length);
  const std::uint64_t bits_per_trit = expect(tree, header.precision).bits_per_trit;
  // A block of 16 KiB keeps what it costs beside its words (about 40 bytes) below 0.3 %.
  unsigned block_bits = kMinBlockBits;
  while (block_bits < kMaxBlockBits && (bits_per_trit << block_bits) >> 32 < 16 * 1024 * 8) ++block_bits;
  header.block_bits = options.block_bits != 0 ? options.block_bits : block_bits;
  const std::uint64_t block = std::min<std::uint64_t>(n, std::uint64_t{1} << header.block_bits);
  const std::uint64_t block_bytes = (block * bits_per_trit) >> 35;
  unsigned lanes = 1;
  for (const auto& [bytes, count] : {std::pair{64u, 2u}, {256u, 8u}, {1024u, 16u}, {3072u, 32u}}) {
    if (block_bytes >= bytes) lanes = count;
  }
  header.lane_bits = static_cast<unsigned>(std::countr_zero(options.lanes != 0 ? options.lanes : lanes));
}

// The corrections that turn the tree's weights into what the symbols really occur, or none if they do not
// pay.
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

// Division by the frequency as a multiplication. States stay below frequency << (32 - precision) before a
// symbol is pushed, so the product stays below 2^64 and the quotient is exact.
struct PushEntry {
  std::uint64_t reciprocal;  // ceil(2^(32 + precision) / frequency)
  std::uint32_t frequency;
  std::uint32_t start;
};

class BlockEncoder {
 public:
  BlockEncoder(const Header& header, const std::vector<std::uint32_t>& frequency) : header_(header) {
    std::uint32_t start = 0;
    for (std::size_t symbol = 0; symbol < frequency.size(); ++symbol) {
      const std::uint64_t scale = std::uint64_t{1} << (32 + header.precision);
      table_[symbol] = {(scale + frequency[symbol] - 1) / frequency[symbol], frequency[symbol], start};
      start += frequency[symbol];
    }
  }

  // Appends states and words of a block and writes its entry.
  void encode(const std::uint8_t* symbols, std::size_t count, std::size_t entry,
              std::vector<std::uint8_t>& payload) {
    const unsigned lanes = header_.lanes();
    std::uint32_t states[kMaxLanes];
    std::fill_n(states, lanes, kStateFloor);
    if (lanes >= kMinTailLanes) count = push_tail(symbols, count, states);

    words_.resize(2 * count);
    std::uint8_t* const end = words_.data() + words_.size();
    std::uint8_t* next = end;
    std::size_t i = count;
    for (; i % lanes != 0; --i) next = push(symbols[i - 1], states[(i - 1) % lanes], next);
    for (; i != 0; i -= lanes) {
      for (unsigned lane = lanes; lane-- != 0;) next = push(symbols[i - lanes + lane], states[lane], next);
    }

    const auto word_bytes = static_cast<std::size_t>(end - next);
    store_u24(payload.data() + entry, word_bytes / 2);
    store_u24(payload.data() + entry + 3, count);
    std::size_t at = payload.size();
    payload.resize(at + std::size_t{4} * lanes + word_bytes);
    for (unsigned lane = 0; lane < lanes; ++lane, at += 4) store_le(payload.data() + at, states[lane]);
    std::copy(next, end, payload.data() + at);
  }

 private:
  static void store_u24(std::uint8_t* bytes, std::size_t value) {
    for (unsigned i = 0; i < 3; ++i) bytes[i] = static_cast<std::uint8_t>(value >> (8 * i));
  }

  // Pushes a symbol, with a word written below `next` where the state has to make room; there are always two
  // bytes below.
  std::uint8_t* push(std::uint8_t symbol, std::uint32_t& state, std::uint8_t* next) const {
    const PushEntry& entry = table_[symbol];
    std::uint32_t x = state;
    const bool full = x >= entry.frequency << (32 - header_.precision);
    store_le(next - 2, static_cast<std::uint16_t>(x));
    next -= full ? 2 : 0;
    x = full ? x >> 16 : x;
    const auto quotient = static_cast<std::uint32_t>((x * entry.reciprocal) >> (32 + header_.precision));
    state = (quotient << header_.precision) + (x - quotient * entry.frequency) + entry.start;
    return next;
  }

  // Codes the last symbols, as many as fit, with a single state into the lower halves of the lanes' first
  // states. Returns the number of symbols left.
  std::size_t push_tail(const std::uint8_t* symbols, std::size_t count, std::uint32_t* states) const {
    const unsigned lanes = header_.lanes();
    std::uint8_t buffer[2 * kMaxLanes];
    std::uint8_t* const end = buffer + sizeof(buffer);
    std::uint8_t* next = end;
    std::uint32_t state = kStateFloor;
    while (count != 0) {
      std::uint32_t pushed = state;
      std::uint8_t* const after = push(symbols[count - 1], pushed, next);
      if (end - after > static_cast<std::ptrdiff_t>(2 * lanes - 4)) break;
      next = after;
      state = pushed;
      --count;
    }
    states[0] |= state & 0xFFFFu;
    states[1] |= state >> 16;
    for (unsigned lane = 2; next != end; ++lane, next += 2) states[lane] |= load_le<std::uint16_t>(next);
    return count;
  }

  const Header& header_;
  std::array<PushEntry, kMaxSymbols> table_{};
  std::vector<std::uint8_t> words_;
};

bool valid(const FastOptions& options) {
  return (options.lanes == 0 || (std::has_single_bit(options.lanes) && options.lanes <= kMaxLanes)) &&
         (options.block_bits == 0 ||
          (options.block_bits >= kMinBlockBits && options.block_bits <= kMaxBlockBits)) &&
         options.max_length <= kMaxLength &&
         (options.precision == 0 ||
          (options.precision >= kMinPrecision && options.precision <= kMaxPrecision));
}

// True if the trits are trits and no more of each than `counts` has.
bool consistent(const std::int8_t* trits, std::size_t n, const TensorCounts& counts) {
  std::uint64_t negative = 0;
  std::uint64_t positive = 0;
  std::uint64_t other = 0;
  for (std::size_t i = 0; i < n; ++i) {
    negative += trits[i] == -1 ? 1 : 0;
    positive += trits[i] == 1 ? 1 : 0;
    other += trits[i] < -1 || trits[i] > 1 ? 1 : 0;
  }
  return other == 0 && negative <= counts.negative && positive <= counts.positive &&
         n - negative - positive <= counts.zero;
}

}  // namespace
}  // namespace fast

bool fast_encode(const std::int8_t* trits, std::size_t n, const TensorCounts& counts,
                 const FastOptions& options, std::vector<std::uint8_t>& payload) {
  using namespace fast;
  payload.clear();
  if (n > kFastMaxTrits || !valid(options) || !consistent(trits, n, counts)) return false;
  if (n == 0 || distinct_trits(counts) < 2) return true;

  Header header;
  choose_model(counts, options, header);
  choose_layout(counts, n, options, header);
  const ParseTree tree = grow_tree(counts, header.symbol_limit, header.max_length);
  const std::size_t block_trits = std::size_t{1} << header.block_bits;
  const Parse parse = parse_blocks(tree, trits, n, block_trits);
  const std::vector<std::uint8_t> factors = choose_factors(tree, parse.histogram, header.precision);
  header.adapted = !factors.empty();

  payload.resize(kHeaderSize);
  write_header(header, payload.data());
  if (header.adapted) {
    payload.resize(kHeaderSize + (factors.size() + 3) / 4 * 2);
    for (std::size_t i = 0; i < factors.size(); ++i) {
      std::uint8_t& byte = payload[kHeaderSize + i / 2];
      byte = static_cast<std::uint8_t>(byte | factors[i] << (4 * (i % 2)));
    }
  }
  std::size_t entry = payload.size();
  payload.resize(entry + (parse.block_starts.size() - 1) * kBlockEntrySize);
  BlockEncoder encoder(header, frequencies(tree, factors, header.precision));
  for (std::size_t i = 0; i + 1 < parse.block_starts.size(); ++i, entry += kBlockEntrySize) {
    const std::size_t start = parse.block_starts[i];
    encoder.encode(parse.symbols.data() + start, parse.block_starts[i + 1] - start, entry, payload);
  }
  return true;
}

}  // namespace ternzip
