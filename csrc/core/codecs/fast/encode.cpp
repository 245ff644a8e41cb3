#include <algorithm>
#include <array>
#include <bit>
#include <cstddef>
#include <cstring>
#include <stdexcept>
#include <utility>
#include <vector>

#include "core/base/bytes.hpp"
#include "core/codecs/fast/fast.hpp"
#include "core/codecs/fast/model.hpp"
#include "core/codecs/fast/parse.hpp"

namespace ternzip::fast {
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

// The larger the tree the more trits a symbol yields, until its smallest leaves are too improbable for the
// precision: halves it while that gains 0.1 %. Takes a higher precision, whose decoder is slower, where that
// gains 0.2 %; and the shortest limit on the length that keeps most of the yield, since longer symbols are
// copied in wider moves.
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

    if (words_.size() < 2 * count) words_.resize(2 * count);
    std::uint8_t* const end = words_.data() + words_.size();
    const std::uint8_t* const next = header_.precision == 12 ? push_all<12>(symbols, count, states, end)
                                                             : push_all<0>(symbols, count, states, end);

    const auto word_bytes = static_cast<std::size_t>(end - next);
    store_u24(payload.data() + entry, word_bytes / 2);
    store_u24(payload.data() + entry + 3, count);
    std::size_t at = payload.size();
    payload.resize(at + std::size_t{4} * lanes + word_bytes);
    for (unsigned lane = 0; lane < lanes; ++lane, at += 4) store_le(payload.data() + at, states[lane]);
    if (word_bytes != 0) std::memcpy(payload.data() + at, next, word_bytes);
  }

 private:
  static void store_u24(std::uint8_t* bytes, std::size_t value) {
    for (unsigned i = 0; i < 3; ++i) bytes[i] = static_cast<std::uint8_t>(value >> (8 * i));
  }

  // Pushes a symbol, with a word written below `next` where the state has to make room; there are always two
  // bytes below. A constant precision (0: the header's) spares shifts by a variable.
  template <unsigned kPrecision>
  std::uint8_t* push(std::uint8_t symbol, std::uint32_t& state, std::uint8_t* next) const {
    const unsigned precision = kPrecision != 0 ? kPrecision : header_.precision;
    const PushEntry& entry = table_[symbol];
    const std::uint32_t full = state >= entry.frequency << (32 - precision) ? 1u : 0u;
    store_le(next - 2, static_cast<std::uint16_t>(state));
    next -= 2 * full;
    // Without a branch, which would be mispredicted every other time.
    const std::uint32_t x = state ^ ((state ^ state >> 16) & (0u - full));
    const auto quotient = static_cast<std::uint32_t>((x * entry.reciprocal) >> (32 + precision));
    // quotient << precision, plus the remainder, plus the start.
    state = x + quotient * ((1u << precision) - entry.frequency) + entry.start;
    return next;
  }

  template <unsigned kPrecision>
  std::uint8_t* push_all(const std::uint8_t* symbols, std::size_t count, std::uint32_t* states,
                         std::uint8_t* next) const {
    const unsigned lanes = header_.lanes();
    std::size_t i = count;
    for (; i % lanes != 0; --i) next = push<kPrecision>(symbols[i - 1], states[(i - 1) % lanes], next);
    for (; i != 0; i -= lanes) {
      for (unsigned lane = lanes; lane-- != 0;) {
        next = push<kPrecision>(symbols[i - lanes + lane], states[lane], next);
      }
    }
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
      std::uint8_t* const after = push<0>(symbols[count - 1], pushed, next);
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

bool valid(const Options& options) {
  return (options.lanes == 0 || (std::has_single_bit(options.lanes) && options.lanes <= kMaxLanes)) &&
         (options.block_bits == 0 ||
          (options.block_bits >= kMinBlockBits && options.block_bits <= kMaxBlockBits)) &&
         options.max_length <= kMaxLength &&
         (options.precision == 0 ||
          (options.precision >= kMinPrecision && options.precision <= kMaxPrecision));
}

// True if the trits are trits and no more of each than `counts` has.
bool consistent(const std::int8_t* trits, std::size_t n, const TritCounts& counts) {
  constexpr std::size_t kStep = 64;  // few enough for sums of eight bits
  std::uint64_t negative = 0;
  std::uint64_t positive = 0;
  unsigned other = 0;
  for (std::size_t start = 0; start < n; start += kStep) {
    const std::size_t end = std::min(n, start + kStep);
    std::uint8_t below = 0;
    std::uint8_t above = 0;
    std::uint8_t beyond = 0;
    for (std::size_t i = start; i < end; ++i) {
      below = static_cast<std::uint8_t>(below + (trits[i] < 0 ? 1 : 0));
      above = static_cast<std::uint8_t>(above + (trits[i] > 0 ? 1 : 0));
      beyond = static_cast<std::uint8_t>(beyond | (trits[i] > 1 || trits[i] < -1 ? 1 : 0));
    }
    negative += below;
    positive += above;
    other |= beyond;
  }
  return other == 0 && negative <= counts.negative && positive <= counts.positive &&
         n - negative - positive <= counts.zero;
}

}  // namespace

std::vector<std::uint8_t> encode(const std::int8_t* trits, std::size_t n, const TritCounts& counts,
                                 const Options& options) {
  if (n > kMaxTrits) throw std::invalid_argument("fast_encode: more than 2^22 trits");
  if (!valid(options)) throw std::invalid_argument("fast_encode: an option is out of range");
  if (!consistent(trits, n, counts)) {
    throw std::invalid_argument("fast_encode: a value is no trit, or a trit occurs more often than counted");
  }
  if (n == 0 || distinct_trits(counts) < 2) return {};

  Header header;
  choose_model(counts, options, header);
  choose_layout(counts, n, options, header);
  const ParseTree tree = grow_tree(counts, header.symbol_limit, header.max_length);
  const std::size_t block_trits = std::size_t{1} << header.block_bits;
  const Parse parse = parse_blocks(tree, trits, n, block_trits);
  const std::vector<std::uint8_t> factors = choose_factors(tree, parse.histogram, header.precision);
  header.adapted = !factors.empty();

  std::vector<std::uint8_t> payload(kHeaderSize);
  write_header(header, payload.data());
  if (header.adapted) {
    payload.resize(kHeaderSize + (factors.size() + 3) / 4 * 2);
    for (std::size_t i = 0; i < factors.size(); ++i) {
      std::uint8_t& byte = payload[kHeaderSize + i / 2];
      byte = static_cast<std::uint8_t>(byte | factors[i] << (4 * (i % 2)));
    }
  }
  std::size_t entry = payload.size();
  payload.resize(entry + parse.counts.size() * kBlockEntrySize);
  BlockEncoder encoder(header, frequencies(tree, factors, header.precision));
  for (std::size_t i = 0; i < parse.counts.size(); ++i, entry += kBlockEntrySize) {
    encoder.encode(parse.symbols.get() + i * block_trits, parse.counts[i], entry, payload);
  }
  return payload;
}

}  // namespace ternzip::fast
