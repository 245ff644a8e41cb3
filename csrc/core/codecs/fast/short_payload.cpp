#include "core/codecs/fast/short_payload.hpp"

#include <algorithm>
#include <bit>

#include "core/base/bytes.hpp"
#include "core/codecs/fast/choices.hpp"
#include "core/codecs/fast/model.hpp"
#include "core/codecs/fast/parse.hpp"
#include "core/codecs/fast/records.hpp"

namespace ternzip::fast {
namespace {

constexpr unsigned kPrecision = 16;
constexpr unsigned kMinLimitBits = 2;  // the tree grows up to 2^limit_bits leaves
constexpr unsigned kMaxLimitBits = 8;
constexpr unsigned kStateBytes = 4;

// One state takes a symbol after the other, so that long payloads are decoded quicker in blocks.
constexpr std::size_t kMostTrits = std::size_t{1} << 16;
constexpr std::uint64_t kMostBytes = 1024;

// Header: bit 7 is set, bit 4 says that factors follow, the lowest three are limit_bits - 1.
constexpr unsigned kShort = 0x80, kAdapted = 0x10, kLimit = 0x07;

unsigned limit_bits_for(const TritCounts& counts) noexcept {
  // As many leaves as bytes, about: more would cost more time than they save.
  const auto bits = static_cast<unsigned>(std::bit_width(entropy_bytes(counts)));
  return std::clamp(bits, kMinLimitBits + 1, kMaxLimitBits + 1) - 1;
}

// Bytes of the state at the head of `size` bytes, where words take up two each.
std::size_t state_size(std::size_t size) noexcept {
  return size < kStateBytes ? size : kStateBytes - size % 2;
}

struct Symbol {
  std::uint32_t start;
  std::uint32_t frequency;
};

// Finds the symbol of a slot: `first` has the symbol at every 64th slot.
class Slots {
 public:
  explicit Slots(const std::vector<std::uint32_t>& frequency) {
    std::uint32_t start = 0;
    std::size_t bucket = 0;
    for (std::size_t symbol = 0; symbol < frequency.size(); ++symbol) {
      symbols_[symbol] = {start, frequency[symbol]};
      start += frequency[symbol];
      const std::size_t end = (start + kBucket - 1) / kBucket;
      std::fill(first_ + bucket, first_ + end, static_cast<std::uint8_t>(symbol));
      bucket = end;
    }
  }
  unsigned find(std::uint32_t slot) const noexcept {
    unsigned symbol = first_[slot / kBucket];
    while (slot - symbols_[symbol].start >= symbols_[symbol].frequency) ++symbol;
    return symbol;
  }
  const Symbol& operator[](unsigned symbol) const noexcept { return symbols_[symbol]; }

 private:
  static constexpr std::uint32_t kBucket = 64;
  Symbol symbols_[kMaxSymbols];
  std::uint8_t first_[(1u << kPrecision) / kBucket];
};

}  // namespace

bool is_short(const std::uint8_t* payload, std::size_t size) noexcept {
  return size != 0 && (payload[0] & kShort) != 0;
}

bool prefers_short(std::size_t n, const TritCounts& counts) noexcept {
  return n <= kMostTrits && counts.negative + counts.zero + counts.positive == n &&
         entropy_bytes(counts) <= kMostBytes;
}

std::vector<std::uint8_t> encode_short(const std::int8_t* trits, std::size_t n, const TritCounts& counts) {
  const unsigned limit_bits = limit_bits_for(counts);
  const ParseTree tree = grow_tree(counts, 1u << limit_bits, kMaxLength);
  const Parse parse = parse_blocks(tree, trits, n, n);
  const std::vector<std::uint8_t> factors = choose_factors(tree, parse.histogram, kPrecision);
  const std::vector<std::uint32_t> frequency = frequencies(tree, factors, kPrecision);
  std::vector<std::uint32_t> start(frequency.size());
  for (std::size_t i = 1; i < start.size(); ++i) start[i] = start[i - 1] + frequency[i - 1];

  // Written from the end: a symbol makes one word at most.
  const std::size_t head = 1 + (factors.empty() ? 0 : factor_bytes(factors.size()));
  std::vector<std::uint8_t> stream(kStateBytes + 2 * parse.counts[0]);
  std::size_t next = stream.size();
  std::uint32_t state = 0;
  for (std::size_t i = parse.counts[0]; i != 0; --i) {
    const unsigned symbol = parse.symbols[i - 1];
    if (state >= frequency[symbol] << (32 - kPrecision)) {
      next -= 2;
      store_le(stream.data() + next, static_cast<std::uint16_t>(state));
      state >>= 16;
    }
    state = (state / frequency[symbol] << kPrecision) + state % frequency[symbol] + start[symbol];
  }
  const auto state_bytes = static_cast<std::size_t>(std::bit_width(state) + 7) / 8;
  next -= state_bytes;
  for (std::size_t i = 0; i < state_bytes; ++i) {
    stream[next + i] = static_cast<std::uint8_t>(state >> (8 * i));
  }

  std::vector<std::uint8_t> payload(head);
  payload[0] = static_cast<std::uint8_t>(kShort | (factors.empty() ? 0 : kAdapted) | (limit_bits - 1));
  if (!factors.empty()) write_factors(factors, payload.data() + 1);
  payload.insert(payload.end(), stream.begin() + static_cast<std::ptrdiff_t>(next), stream.end());
  return payload;
}

bool decode_short(const std::uint8_t* payload, std::size_t size, std::size_t n, const TritCounts& counts,
                  Output& out) {
  const unsigned limit_bits = (payload[0] & kLimit) + 1;
  if ((payload[0] & ~(kShort | kAdapted | kLimit)) != 0 || limit_bits < kMinLimitBits) return false;
  const ParseTree tree = grow_tree(counts, 1u << limit_bits, kMaxLength);
  std::size_t at = 1;
  std::vector<std::uint8_t> factors;
  if ((payload[0] & kAdapted) != 0) {
    factors.resize(tree.leaves.size());
    if (size - at < factor_bytes(factors.size()) || !read_factors(payload + at, factors)) return false;
    at += factor_bytes(factors.size());
  }
  const Slots slots(frequencies(tree, factors, kPrecision));
  const unsigned stride = record_stride(longest_symbol(tree));
  std::uint8_t records[(kMaxSymbols + 1) * kMaxStride];
  write_records(tree, stride, records);

  std::uint32_t state = 0;
  const std::size_t state_bytes = state_size(size - at);
  for (std::size_t i = 0; i < state_bytes; ++i) state |= std::uint32_t{payload[at + i]} << (8 * i);
  if (state_bytes != 0 && state >> (8 * (state_bytes - 1)) == 0) return false;  // a byte too many
  const std::uint8_t* words = payload + at + state_bytes;
  const std::uint8_t* const words_end = payload + size;
  out.open(n);
  const auto take_symbol = [&] {
    const std::uint32_t slot = state & 0xFFFFu;
    const unsigned found = slots.find(slot);
    const Symbol& symbol = slots[found];
    state = symbol.frequency * (state >> kPrecision) + slot - symbol.start;
    const std::uint8_t* const record = records + std::size_t{found} * stride;
    out.append(record, record[stride - 1]);
  };
  while (words != words_end && out.left() != 0) {
    take_symbol();
    // Without a branch, which would be mispredicted every other time.
    const std::uint32_t refill = state < kStateFloor ? 1u : 0u;
    const std::uint32_t next = state << 16 | load_le<std::uint16_t>(words);
    state ^= (state ^ next) & (0u - refill);
    words += 2 * refill;
  }
  while (out.left() != 0) take_symbol();
  return words == words_end && state == 0;
}

}  // namespace ternzip::fast
