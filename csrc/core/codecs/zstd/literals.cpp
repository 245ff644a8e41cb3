#include "core/codecs/zstd/literals.hpp"

#include <algorithm>
#include <bit>

#include "core/base/bytes.hpp"
#include "core/codecs/zstd/bits.hpp"
#include "core/codecs/zstd/fse.hpp"

namespace ternzip::zstd {
namespace {

enum LiteralsType : unsigned { kRaw = 0, kRepeated = 1, kCoded = 2, kCodedAsBefore = 3 };

constexpr std::size_t kMaxWeights = 255;  // the last symbol's is not stored
constexpr unsigned kMaxWeightLog = 6;

// Weights that two states of one table write in turn until the bits are used up; how many, 0 for none.
std::size_t read_weights(const std::uint8_t* data, std::size_t size, std::uint8_t* weights) noexcept {
  FseCounts counts;
  const std::size_t header = read_counts(data, size, kMaxWeightLog, kFseSymbols - 1, counts);
  BackwardBits bits;
  if (header == 0 || !bits.open(data + header, size - header)) return 0;
  FseTable table;
  build_table(counts, table);
  FseState states[2];
  for (FseState& state : states) state.start(table, bits);
  if (bits.left() < 0) return 0;
  for (std::size_t n = 0, turn = 0;; turn ^= 1) {
    if (n + 2 > kMaxWeights) return 0;
    weights[n++] = states[turn].symbol();
    states[turn].next(bits);
    if (bits.left() < 0) {
      weights[n++] = states[turn ^ 1].symbol();
      return n;
    }
  }
}

}  // namespace

bool Literals::build_codes(const std::uint8_t* weights, std::size_t count) noexcept {
  std::array<std::uint32_t, kMaxCodeBits + 1> of_weight{};
  std::uint32_t total = 0;
  for (std::size_t i = 0; i < count; ++i) {
    if (weights[i] > kMaxCodeBits) return false;
    ++of_weight[weights[i]];
    total += (1u << weights[i]) >> 1;
  }
  if (total == 0) return false;
  // The last symbol takes what is missing to the next power of two, which must be one itself.
  code_bits_ = static_cast<unsigned>(std::bit_width(total));
  if (code_bits_ > kMaxCodeBits) return false;
  const std::uint32_t rest = (1u << code_bits_) - total;
  if (!std::has_single_bit(rest)) return false;
  const auto last_weight = static_cast<std::uint8_t>(std::bit_width(rest));
  ++of_weight[last_weight];
  if (of_weight[1] < 2 || of_weight[1] % 2 != 0) return false;

  std::array<std::uint32_t, kMaxCodeBits + 2> start{};
  for (unsigned w = 1; w <= kMaxCodeBits; ++w) start[w + 1] = start[w] + (of_weight[w] << (w - 1));
  for (std::size_t symbol = 0; symbol <= count; ++symbol) {
    const unsigned weight = symbol < count ? weights[symbol] : last_weight;
    if (weight == 0) continue;
    const std::uint32_t cells = 1u << (weight - 1);
    const Code code{static_cast<std::uint8_t>(symbol), static_cast<std::uint8_t>(code_bits_ + 1 - weight)};
    std::fill_n(codes_.begin() + start[weight], cells, code);
    start[weight] += cells;
  }
  has_codes_ = true;
  return true;
}

std::size_t Literals::read_codes(const std::uint8_t* data, std::size_t size) noexcept {
  if (size == 0) return 0;
  std::array<std::uint8_t, kMaxWeights + 1> weights;
  const std::size_t header = data[0];
  std::size_t count = 0, used = 1 + header;
  if (header < 128) {
    if (used > size) return 0;
    count = read_weights(data + 1, header, weights.data());
    if (count == 0) return 0;
  } else {
    count = header - 127;
    used = 1 + (count + 1) / 2;
    if (used > size) return 0;
    for (std::size_t i = 0; i < count; ++i) {
      const unsigned byte = data[1 + i / 2];
      weights[i] = static_cast<std::uint8_t>(i % 2 == 0 ? byte >> 4 : byte & 15);
    }
  }
  return build_codes(weights.data(), count) ? used : 0;
}

bool Literals::open(Stream& stream, const std::uint8_t* data, std::size_t size, std::size_t begin,
                    std::size_t end) noexcept {
  stream.to = bytes_.data() + begin;
  stream.end = bytes_.data() + end;
  return stream.bits.open(data, size);
}

// kCodesOfBatch more literals.
void Literals::decode_batch(Stream& stream) const noexcept {
  std::uint64_t batch = stream.bits.batch();
  unsigned used = 0;
  for (std::size_t i = 0; i < kCodesOfBatch; ++i) {
    const Code code = codes_[top_bits(batch, code_bits_)];
    stream.to[i] = code.symbol;
    batch <<= code.bits;
    used += code.bits;
  }
  stream.bits.skip(used);
  stream.to += kCodesOfBatch;
}

// Whether the rest of the bits is the rest of the literals.
bool Literals::finish(Stream& stream) const noexcept {
  while (has_batch(stream)) decode_batch(stream);
  for (; stream.to != stream.end; ++stream.to) {
    const Code code = codes_[stream.bits.peek(code_bits_)];
    *stream.to = code.symbol;
    stream.bits.skip(code.bits);
  }
  return stream.bits.left() == 0;
}

bool Literals::decode_one(const std::uint8_t* data, std::size_t size) noexcept {
  Stream stream;
  return open(stream, data, size, 0, size_) && finish(stream);
}

bool Literals::decode_four(const std::uint8_t* data, std::size_t size) noexcept {
  constexpr std::size_t kStreams = 4, kJumps = 6, kFewest = 6;
  if (size < kJumps || size_ < kFewest) return false;
  const std::size_t share = (size_ + 3) / 4;
  std::size_t position = kJumps;
  std::array<Stream, kStreams> streams;
  for (std::size_t i = 0; i < kStreams; ++i) {
    const bool is_last = i + 1 == kStreams;
    const std::size_t begin = std::min(size_, i * share),
                      end = is_last ? size_ : std::min(size_, begin + share);
    const std::size_t bytes = is_last ? size - position : load_le<std::uint16_t>(data + 2 * i);
    if (bytes > size - position || !open(streams[i], data + position, bytes, begin, end)) return false;
    position += bytes;
  }
  // The four in turns: none waits for what another looks up.
  while (std::all_of(streams.begin(), streams.end(), has_batch)) {
    for (Stream& stream : streams) decode_batch(stream);
  }
  return std::all_of(streams.begin(), streams.end(), [this](Stream& stream) { return finish(stream); });
}

void Literals::reserve() {
  if (bytes_.size() < size_) bytes_.resize(size_);
  data_ = bytes_.data();
}

std::size_t Literals::read(const std::uint8_t* block, std::size_t size) {
  if (size == 0) return 0;
  const unsigned type = block[0] & 3u, format = block[0] >> 2 & 3u;
  if (type == kRaw || type == kRepeated) {
    const std::size_t header = format == 1 ? 2 : format == 3 ? 3 : 1;
    if (header > size) return 0;
    size_ = header == 1   ? block[0] >> 3
            : header == 2 ? load_le<std::uint16_t>(block) >> 4
                          : (load_le<std::uint16_t>(block) | std::size_t{block[2]} << 16) >> 4;
    const std::size_t stored = type == kRaw ? size_ : 1;
    if (size_ > kMaxBlockBytes || stored > size - header) return 0;
    data_ = block + header;
    if (type == kRepeated) {
      reserve();
      std::fill_n(bytes_.begin(), size_, block[header]);
    }
    return header + stored;
  }

  // Both sizes in 10, 10, 14 or 18 bits each, behind the first four bits.
  const std::size_t header = format < 2 ? 3 : format + 2;
  if (header > size) return 0;
  std::uint64_t fields = 0;
  for (std::size_t i = 0; i < header; ++i) fields |= static_cast<std::uint64_t>(block[i]) << (8 * i);
  const unsigned width = format < 2 ? 10 : format == 2 ? 14 : 18;
  const std::uint64_t mask = (std::uint64_t{1} << width) - 1;
  size_ = static_cast<std::size_t>(fields >> 4 & mask);
  const auto coded = static_cast<std::size_t>(fields >> (4 + width) & mask);
  if (size_ == 0 || size_ > kMaxBlockBytes || coded > size - header) return 0;
  const std::uint8_t* const data = block + header;
  const std::size_t codes = type == kCoded ? read_codes(data, coded) : 0;
  if (type == kCoded ? codes == 0 : !has_codes_) return 0;
  reserve();
  const bool valid =
      format == 0 ? decode_one(data + codes, coded - codes) : decode_four(data + codes, coded - codes);
  return valid ? header + coded : 0;
}

}  // namespace ternzip::zstd
