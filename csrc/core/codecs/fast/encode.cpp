#include <algorithm>
#include <array>
#include <bit>
#include <cstddef>
#include <cstring>
#include <stdexcept>
#include <vector>

#include "core/base/bytes.hpp"
#include "core/codecs/fast/choices.hpp"
#include "core/codecs/fast/fast.hpp"
#include "core/codecs/fast/model.hpp"
#include "core/codecs/fast/parse.hpp"
#include "core/codecs/fast/short_payload.hpp"
#include "core/tensor/scan_kernels.hpp"

namespace ternzip::fast {
namespace {

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
  const auto match = scan_kernels().match[0];
  TritCounts found;
  for (std::size_t start = 0; start < n; start += kScanBlock) {
    const PatternCounts part = match(trits + start, std::min(kScanBlock, n - start), 0xFF, 1, 0);
    found.negative += part.negative;
    found.zero += part.zero;
    found.positive += part.positive;
  }
  return found.negative + found.zero + found.positive == n && found.negative <= counts.negative &&
         found.zero <= counts.zero && found.positive <= counts.positive;
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

  const bool chooses =
      options.lanes == 0 && options.block_bits == 0 && options.max_length == 0 && options.precision == 0;
  if (chooses && prefers_short(n, counts)) return encode_short(trits, n, counts);

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
    payload.resize(kHeaderSize + factor_bytes(factors.size()));
    write_factors(factors, payload.data() + kHeaderSize);
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
