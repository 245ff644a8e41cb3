#include "core/codecs/zstd/sequences.hpp"

#include <algorithm>
#include <cstring>

#include "core/base/bytes.hpp"
#include "core/codecs/zstd/bits.hpp"

namespace ternzip::zstd {
namespace {

enum Mode : unsigned { kPredefined = 0, kSingle = 1, kStored = 2, kAsBefore = 3 };
enum Which : std::size_t { kLiteralLengths = 0, kOffsets = 1, kMatchLengths = 2 };

// What a code stands for: `base` and the next `bits` bits.
struct LengthCode {
  std::uint32_t base;
  std::uint8_t bits;
};

template <std::size_t kCodes, std::size_t kPlain, std::size_t kWidths>
constexpr std::array<LengthCode, kCodes> length_codes(std::uint32_t first,
                                                      const std::array<std::uint8_t, kWidths>& widths) {
  static_assert(kPlain + kWidths == kCodes);
  std::array<LengthCode, kCodes> codes{};
  std::uint32_t base = first;
  for (std::size_t i = 0; i < kCodes; ++i) {
    const std::uint8_t bits = i < kPlain ? std::uint8_t{0} : widths[i - kPlain];
    codes[i] = {base, bits};
    base += 1u << bits;
  }
  return codes;
}
constexpr auto kLiteralCodes = length_codes<36, 16>(
    0, std::array<std::uint8_t, 20>{1, 1, 1, 1, 2, 2, 3, 3, 4, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16});
constexpr auto kMatchCodes = length_codes<53, 32>(
    3, std::array<std::uint8_t, 21>{1, 1, 1, 1, 2, 2, 3, 3, 4, 4, 5, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16});
static_assert(kLiteralCodes[35].base == 65536 && kMatchCodes[52].base == 65539);
constexpr std::size_t kLastOffsetCode = 31;

constexpr std::int16_t kLiteralCounts[] = {4, 3, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 1, 1,  1,  2,  2,
                                           2, 2, 2, 2, 2, 2, 2, 3, 2, 1, 1, 1, 1, 1, -1, -1, -1, -1};
constexpr std::int16_t kOffsetCounts[] = {1, 1, 1, 1, 1, 1, 2, 2, 2, 1,  1,  1,  1,  1, 1,
                                          1, 1, 1, 1, 1, 1, 1, 1, 1, -1, -1, -1, -1, -1};
constexpr std::int16_t kMatchCounts[] = {1, 4, 3, 2, 2, 2, 2, 2, 2, 1, 1,  1,  1,  1,  1,  1,  1, 1,
                                         1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1,  1,  1,  1,  1,  1,  1, 1,
                                         1, 1, 1, 1, 1, 1, 1, 1, 1, 1, -1, -1, -1, -1, -1, -1, -1};

// The next bits in as many numbers, of at most 32 bits each.
template <std::size_t kNumbers>
void take(BackwardBits& bits, const std::array<unsigned, kNumbers>& widths,
          std::array<std::uint32_t, kNumbers>& numbers) noexcept {
  unsigned all = 0;
  for (const unsigned width : widths) all += width;
  if (!bits.has_batch() || all > kBatch) {
    for (std::size_t i = 0; i < kNumbers; ++i) numbers[i] = bits.take(widths[i]);
    return;
  }
  std::uint64_t batch = bits.batch();
  for (std::size_t i = 0; i < kNumbers; ++i) {
    numbers[i] = static_cast<std::uint32_t>(batch >> 1 >> (63 - widths[i]));  // also none
    batch <<= widths[i];
  }
  bits.skip(all);
}

// Copies `size` bytes that do not overlap: most are few, and quicker copied with those behind them where
// `readable` and `writable` bytes, at least `size`, may be touched.
constexpr std::size_t kShort = 16;
void copy(const std::uint8_t* from, std::size_t size, std::uint8_t* to, std::size_t readable,
          std::size_t writable) noexcept {
  if (size <= kShort && readable >= kShort && writable >= kShort) {
    std::memcpy(to, from, kShort);
  } else {
    std::copy_n(from, size, to);
  }
}

}  // namespace

struct Sequences::Kind {
  std::size_t last_code;
  unsigned max_log;
  unsigned predefined_log;
  const std::int16_t* predefined;
  std::size_t predefined_codes;
};

std::size_t Sequences::read_table(const std::uint8_t* data, std::size_t size, unsigned mode, const Kind& kind,
                                  Memory& memory) noexcept {
  constexpr std::size_t kNone = kDamaged;
  FseCounts counts;
  std::size_t used = 0;
  switch (mode) {
    case kPredefined:
      counts.log = kind.predefined_log;
      counts.symbols = kind.predefined_codes;
      std::copy_n(kind.predefined, kind.predefined_codes, counts.of.begin());
      build_table(counts, memory.table);
      break;
    case kSingle:
      if (size == 0 || data[0] > kind.last_code) return kNone;
      memory.table.log = 0;
      memory.table.cells[0] = {data[0], 0, 0};
      used = 1;
      break;
    case kStored:
      used = read_counts(data, size, kind.max_log, kind.last_code, counts);
      if (used == 0) return kNone;
      build_table(counts, memory.table);
      break;
    default:
      if (!memory.is_known) return kNone;
  }
  memory.is_known = true;
  return used;
}

// 0 for none that can be.
std::size_t Sequences::next_offset(std::uint32_t code, std::uint32_t extra, bool has_literals) noexcept {
  if (code > 1) {
    const std::uint64_t offset = (std::uint64_t{1} << code) + extra - 3;
    offsets_ = {static_cast<std::size_t>(offset), offsets_[0], offsets_[1]};
    return offsets_[0];
  }
  // One of the last three; where no literals came in between, the newest makes no sense, and the others move
  // up.
  const std::uint32_t which = code + extra + (has_literals ? 0 : 1);
  if (which == 0) return offsets_[0];
  const std::size_t offset = which == 3 ? offsets_[0] - 1 : offsets_[which];
  offsets_ = {offset, offsets_[0], which == 1 ? offsets_[2] : offsets_[1]};
  return offset;
}

std::size_t Sequences::run(const std::uint8_t* block, std::size_t size, const Literals& literals,
                           std::uint8_t* out, std::size_t produced, std::size_t room,
                           std::size_t window) noexcept {
  static constexpr Kind kKinds[3] = {
      {kLiteralCodes.size() - 1, 9, 6, kLiteralCounts, std::size(kLiteralCounts)},
      {kLastOffsetCode, 8, 5, kOffsetCounts, std::size(kOffsetCounts)},
      {kMatchCodes.size() - 1, 9, 6, kMatchCounts, std::size(kMatchCounts)},
  };
  if (size == 0) return kDamaged;
  const std::size_t header = block[0] < 128 ? 1 : block[0] < 255 ? 2 : 3;
  if (header > size) return kDamaged;
  const std::size_t count = header == 1   ? block[0]
                            : header == 2 ? (block[0] - 128u) << 8 | block[1]
                                          : load_le<std::uint16_t>(block + 1) + 0x7F00u;
  std::uint8_t* const begin = out + produced;
  std::uint8_t* to = begin;
  const std::uint8_t* from = literals.data();
  std::size_t literals_left = literals.size();
  if (count == 0) {
    if (size != header) return kDamaged;
  } else {
    if (size - header < 1) return kDamaged;
    const unsigned modes = block[header];
    std::size_t position = header + 1;
    if ((modes & 3) != 0) return kDamaged;  // reserved
    for (std::size_t kind = 0; kind < 3; ++kind) {
      const std::size_t used = read_table(block + position, size - position, modes >> (6 - 2 * kind) & 3,
                                          kKinds[kind], memories_[kind]);
      if (used == kDamaged) return kDamaged;
      position += used;
    }
    BackwardBits bits;
    if (!bits.open(block + position, size - position)) return kDamaged;
    std::array<FseState, 3> states;
    for (std::size_t kind = 0; kind < 3; ++kind) states[kind].start(memories_[kind].table, bits);
    for (std::size_t i = 0; i < count; ++i) {
      const std::uint32_t offset_code = states[kOffsets].symbol();
      const LengthCode match_code = kMatchCodes[states[kMatchLengths].symbol()];
      const LengthCode literal_code = kLiteralCodes[states[kLiteralLengths].symbol()];
      std::array<std::uint32_t, 3> extra;
      take<3>(bits, {offset_code, match_code.bits, literal_code.bits}, extra);
      const std::size_t match = match_code.base + std::size_t{extra[1]};
      const std::size_t copied = literal_code.base + std::size_t{extra[2]};
      const std::size_t offset = next_offset(offset_code, extra[0], copied != 0);
      if (i + 1 < count) {
        constexpr std::size_t kOrder[] = {kLiteralLengths, kMatchLengths, kOffsets};
        take<3>(bits, {states[kOrder[0]].bits(), states[kOrder[1]].bits(), states[kOrder[2]].bits()}, extra);
        for (std::size_t k = 0; k < 3; ++k) states[kOrder[k]].next(extra[k]);
      }
      if (bits.left() < 0 || copied > literals_left || copied > room || match > room - copied)
        return kDamaged;
      copy(from, copied, to, literals_left, room);
      from += copied;
      to += copied;
      literals_left -= copied;
      room -= copied;
      if (offset == 0 || offset > std::min(window, static_cast<std::size_t>(to - out))) return kDamaged;
      const std::uint8_t* const source = to - offset;
      if (offset >= match) {
        copy(source, match, to, offset, room);
      } else {  // the bytes repeat themselves
        for (std::size_t k = 0; k < match; ++k) to[k] = source[k];
      }
      to += match;
      room -= match;
    }
    if (bits.left() != 0) return kDamaged;
  }
  if (literals_left > room) return kDamaged;
  to = std::copy_n(from, literals_left, to);
  return static_cast<std::size_t>(to - begin);
}

}  // namespace ternzip::zstd
