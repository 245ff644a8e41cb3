#include "core/codecs/planes/huffman.hpp"

#include <algorithm>
#include <stdexcept>

#include "core/codecs/planes/code_lengths.hpp"
#include "core/codecs/planes/kernels.hpp"

namespace ternzip {
namespace {

using planes::Code;
using planes::DecodeEntry;
using planes::kStreams;
using planes::StreamCursor;

constexpr unsigned kSmallTableBits = 11;
// From this many bytes on, a table of several symbols an entry is worth its making.
constexpr std::size_t kRoundsFrom = std::size_t{1} << 12;

// Codes for bytes; `first` and `last` are the lowest and the highest that have one.
struct CodeBook {
  CodeLengths lengths{};
  unsigned first = 0, last = 0;

  std::size_t header_size() const noexcept { return 2 + (last - first + 2) / 2 + 3 * (kStreams - 1); }
  unsigned longest() const noexcept { return *std::max_element(lengths.begin(), lengths.end()); }
};

bool has_codes(const ByteCounts& counts) noexcept {
  return std::count(counts.begin(), counts.end(), 0u) <= 254;
}

CodeBook choose_codes(const ByteCounts& counts) noexcept {
  CodeBook book;
  book.lengths = code_lengths(counts, kMaxCodeLength);
  if (book.longest() > kSmallTableBits) {
    // Shorter codes make a smaller table, which decodes quicker.
    const CodeLengths shorter = code_lengths(counts, kSmallTableBits);
    const std::uint64_t bits = coded_bits(counts, shorter);
    if (coded_bits(counts, book.lengths) + bits / 512 >= bits) book.lengths = shorter;
  }
  book.last = 255;
  while (book.lengths[book.first] == 0) ++book.first;
  while (book.lengths[book.last] == 0) --book.last;
  return book;
}

// Canonical codes: by length, then by symbol, each the one before it plus one, as numbers whose highest bit
// comes first. Streams are filled from the lowest bit, so the codes are turned round.
std::array<Code, 256> canonical_codes(const CodeLengths& lengths) noexcept {
  std::array<Code, 256> codes{};
  std::uint32_t next = 0;
  for (unsigned length = 1; length <= kMaxCodeLength; ++length) {
    next <<= 1;
    for (unsigned symbol = 0; symbol < 256; ++symbol) {
      if (lengths[symbol] != length) continue;
      std::uint32_t reversed = 0;
      for (unsigned bit = 0; bit < length; ++bit) reversed |= (next >> bit & 1u) << (length - 1 - bit);
      codes[symbol] = reversed | length << 16;
      ++next;
    }
  }
  return codes;
}

// Where the bytes of each stream begin, and at the end their number.
std::array<std::size_t, kStreams + 1> shares(std::size_t size) noexcept {
  const std::size_t share = size / kStreams + (size % kStreams != 0 ? 1 : 0);
  std::array<std::size_t, kStreams + 1> bounds{};
  for (unsigned s = 0; s <= kStreams; ++s) bounds[s] = std::min(size, s * share);
  return bounds;
}

// False where the lengths are no complete code or not written as they must be.
bool read_book(const std::uint8_t* payload, std::size_t size, CodeBook& book) noexcept {
  if (size < 2) return false;
  book.first = payload[0];
  book.last = payload[1];
  if (book.first >= book.last || size < book.header_size()) return false;
  std::uint32_t room = 0;  // Kraft's sum in units of 2^-kMaxCodeLength
  for (unsigned symbol = book.first; symbol <= book.last; ++symbol) {
    const unsigned at = symbol - book.first;
    const unsigned length = payload[2 + at / 2] >> (4 * (at % 2)) & 15u;
    if (length > kMaxCodeLength) return false;
    book.lengths[symbol] = static_cast<std::uint8_t>(length);
    room += length == 0 ? 0u : 1u << (kMaxCodeLength - length);
  }
  const bool odd = (book.last - book.first) % 2 == 0;
  if (odd && payload[2 + (book.last - book.first) / 2] >> 4 != 0) return false;
  return room == 1u << kMaxCodeLength && book.lengths[book.first] != 0 && book.lengths[book.last] != 0;
}

// The symbol and, from bit 8 on, the length of the code that the lowest `table_bits` bits begin with.
void fill_symbols(const CodeLengths& lengths, unsigned table_bits, std::uint16_t* table) noexcept {
  const std::array<Code, 256> codes = canonical_codes(lengths);
  for (unsigned symbol = 0; symbol < 256; ++symbol) {
    const unsigned length = lengths[symbol];
    if (length == 0) continue;
    const auto entry = static_cast<std::uint16_t>(symbol | length << 8);
    for (std::size_t i = codes[symbol] & 0xFFFF; i >> table_bits == 0; i += std::size_t{1} << length) {
      table[i] = entry;
    }
  }
}

void fill_entries(const std::uint16_t* symbols, unsigned table_bits, DecodeEntry* table) noexcept {
  for (std::size_t index = 0; index >> table_bits == 0; ++index) {
    std::uint64_t found = 0;
    unsigned bits = 0, number = 0;
    for (; number < planes::kMaxEntrySymbols; ++number) {
      const unsigned entry = symbols[index >> bits];
      if (bits + (entry >> 8) > table_bits) break;
      found |= std::uint64_t{entry & 0xFF} << (8 * number);
      bits += entry >> 8;
    }
    table[index] = planes::make_entry(found, bits, number);
  }
}

// The rest of a stream, which must end with its last symbol and the zero bits that fill up its last byte.
bool finish_stream(const std::uint16_t* symbols, unsigned table_bits, StreamCursor stream) noexcept {
  const std::uint32_t mask = (1u << table_bits) - 1;
  std::uint64_t bits =
      stream.count < 64 ? stream.bits & ((std::uint64_t{1} << stream.count) - 1) : stream.bits;
  unsigned count = stream.count;
  while (stream.out != stream.out_end) {
    while (count < table_bits && stream.next != stream.end) {
      bits |= std::uint64_t{*stream.next++} << count;
      count += 8;
    }
    const unsigned entry = symbols[bits & mask];
    const unsigned length = entry >> 8;
    if (length > count) return false;
    *stream.out++ = static_cast<std::uint8_t>(entry);
    bits >>= length;
    count -= length;
  }
  return stream.next == stream.end && count < 8 && bits == 0;
}

[[noreturn]] void refuse() {
  throw std::invalid_argument(
      "huffman_encode: needs two distinct bytes, at most 2^22 in all, and their counts");
}

}  // namespace

ByteCounts count_bytes(const std::uint8_t* bytes, std::size_t size) noexcept {
  ByteCounts counts{};
  planes::encoding_kernels().count(bytes, size, counts.data());
  return counts;
}

std::size_t huffman_size(const ByteCounts& counts) noexcept {
  if (!has_codes(counts)) return 0;
  const CodeBook book = choose_codes(counts);
  return book.header_size() + static_cast<std::size_t>((coded_bits(counts, book.lengths) + 7) / 8);
}

HuffmanPayload huffman_encode(const std::uint8_t* bytes, std::size_t size, const ByteCounts& counts) {
  if (size > kHuffmanMaxBytes || !has_codes(counts)) refuse();
  const CodeBook book = choose_codes(counts);
  const std::array<Code, 256> codes = canonical_codes(book.lengths);

  // Room for the longest codes, so that wrong counts do no harm; pages that are not written cost nothing.
  constexpr std::size_t kOverrun = 8;  // of the kernel
  const std::size_t room = book.header_size() + size * kMaxCodeLength / 8 + kStreams + kOverrun;
  HuffmanPayload payload{std::make_unique_for_overwrite<std::uint8_t[]>(room)};
  std::uint8_t* at = payload.bytes.get();
  *at++ = static_cast<std::uint8_t>(book.first);
  *at++ = static_cast<std::uint8_t>(book.last);
  for (unsigned symbol = book.first; symbol <= book.last; symbol += 2) {
    const unsigned high = symbol < book.last ? book.lengths[symbol + 1] : 0u;
    *at++ = static_cast<std::uint8_t>(book.lengths[symbol] | high << 4);
  }
  std::uint8_t* sizes = at;
  at += 3 * (kStreams - 1);
  const auto bounds = shares(size);
  for (unsigned s = 0; s < kStreams; ++s) {
    std::uint8_t* const end =
        planes::encoding_kernels().encode(bytes + bounds[s], bounds[s + 1] - bounds[s], codes.data(), at);
    const auto stream_size = static_cast<std::uint32_t>(end - at);
    for (unsigned i = 0; s + 1 < kStreams && i < 3; ++i) {
      *sizes++ = static_cast<std::uint8_t>(stream_size >> (8 * i));
    }
    at = end;
  }
  payload.size = static_cast<std::size_t>(at - payload.bytes.get());
  const std::size_t least = book.header_size() + (coded_bits(counts, book.lengths) + 7) / 8;
  if (payload.size < least || payload.size > least + kStreams - 1) refuse();
  return payload;
}

bool huffman_decode(const std::uint8_t* payload, std::size_t payload_size, std::uint8_t* out,
                    std::size_t size) noexcept {
  CodeBook book;
  if (size > kHuffmanMaxBytes || !read_book(payload, payload_size, book)) return false;
  const std::uint8_t* const sizes = payload + book.header_size() - 3 * (kStreams - 1);
  const std::uint8_t* next = payload + book.header_size();
  auto left = payload_size - book.header_size();
  const auto bounds = shares(size);
  StreamCursor streams[kStreams];
  for (unsigned s = 0; s < kStreams; ++s) {
    std::size_t stream_size = left;
    if (s + 1 < kStreams) {
      const std::uint8_t* const field = sizes + std::size_t{3} * s;
      stream_size = field[0] | std::size_t{field[1]} << 8 | std::size_t{field[2]} << 16;
      if (stream_size > left) return false;
    }
    streams[s] = {next, next + stream_size, out + bounds[s], out + bounds[s + 1], 0, 0};
    next += stream_size;
    left -= stream_size;
  }

  const unsigned table_bits = std::max(book.longest(), kSmallTableBits);
  std::uint16_t symbols[1u << kMaxCodeLength];
  fill_symbols(book.lengths, table_bits, symbols);
  if (size >= kRoundsFrom) {
    DecodeEntry table[1u << kMaxCodeLength];
    fill_entries(symbols, table_bits, table);
    planes::decoding_kernels().decode(table, table_bits, streams);
  }
  for (const StreamCursor& stream : streams) {
    if (!finish_stream(symbols, table_bits, stream)) return false;
  }
  return true;
}

}  // namespace ternzip
