#include "core/codecs/zstd/zstd.hpp"

#include <algorithm>
#include <memory>

#include "core/base/bytes.hpp"
#include "core/codecs/zstd/literals.hpp"
#include "core/codecs/zstd/sequences.hpp"
#include "core/codecs/zstd/xxh64.hpp"

namespace ternzip::zstd {
namespace {

constexpr std::uint32_t kMagic = 0xFD2FB528;
// Bits of the frame header's descriptor.
constexpr unsigned kStatedBits = 0b11100011, kReservedBit = 0b1000, kChecksumBit = 0b100;
enum BlockType : unsigned { kRawBlock = 0, kRepeatedByte = 1, kCompressedBlock = 2 };

// What blocks of one frame share.
struct Memory {
  Literals literals;
  Sequences sequences;
};

}  // namespace

std::string message_of(const Result& result, std::size_t size) {
  const std::string expected = "zstd: expected " + std::to_string(size) + " bytes, found ";
  switch (result.problem) {
    case Problem::kNone: break;
    case Problem::kStated: return "zstd: expected a frame without content size and dictionary";
    case Problem::kWindow:
      return "zstd: the window takes too much memory: expected at most " + std::to_string(kMaxWindowBytes) +
             " bytes";
    case Problem::kTruncated: return "zstd: the frame ends too early";
    case Problem::kDamaged: return "zstd: damaged";
    case Problem::kChecksum: return "zstd: the content has another checksum";
    case Problem::kTooLong: return expected + "more";
    case Problem::kTooShort: return expected + std::to_string(result.count);
    case Problem::kTrailing:
      return "zstd: " + std::to_string(result.count) + " bytes of unused data behind the frame";
  }
  return {};
}

Result decompress(const std::uint8_t* frame, std::size_t frame_size, std::uint8_t* out, std::size_t size) {
  constexpr std::size_t kHeader = 6, kBlockHeader = 3, kChecksum = 4;
  if (frame_size < 4 || load_le<std::uint32_t>(frame) != kMagic) return {Problem::kStated};
  if (frame_size > 4 && (frame[4] & kStatedBits) != 0) return {Problem::kStated};
  if (frame_size < kHeader) return {Problem::kTruncated};
  if ((frame[4] & kReservedBit) != 0) return {Problem::kDamaged};
  const std::size_t base = std::size_t{1} << std::min(10 + (frame[5] >> 3), 31);
  const std::size_t window = base + base / 8 * (frame[5] & 7u);
  if (window > kMaxWindowBytes) return {Problem::kWindow};
  const std::size_t most = std::min(window, kMaxBlockBytes);  // bytes of a block, stored or not

  std::unique_ptr<Memory> memory;
  std::size_t position = kHeader, produced = 0;
  for (bool is_last = false; !is_last;) {
    if (frame_size - position < kBlockHeader) return {Problem::kTruncated};
    const std::uint32_t header =
        load_le<std::uint16_t>(frame + position) | static_cast<std::uint32_t>(frame[position + 2]) << 16;
    position += kBlockHeader;
    is_last = (header & 1) != 0;
    const unsigned type = header >> 1 & 3;
    const std::size_t stated = header >> 3, stored = type == kRepeatedByte ? 1 : stated;
    if (stated > most || type > kCompressedBlock) return {Problem::kDamaged};
    if (stored > frame_size - position) return {Problem::kTruncated};
    const std::uint8_t* const block = frame + position;
    position += stored;
    if (type != kCompressedBlock) {
      if (stated > size - produced) return {Problem::kTooLong};
      if (type == kRawBlock) {
        std::copy_n(block, stated, out + produced);
      } else {
        std::fill_n(out + produced, stated, *block);
      }
      produced += stated;
      continue;
    }
    if (!memory) memory = std::make_unique<Memory>();
    const std::size_t literals = memory->literals.read(block, stored);
    if (literals == 0) return {Problem::kDamaged};
    const std::size_t made = memory->sequences.run(block + literals, stored - literals, memory->literals, out,
                                                   produced, std::min(most, size - produced), window);
    if (made == Sequences::kDamaged) return {Problem::kDamaged};
    produced += made;
  }
  if ((frame[4] & kChecksumBit) != 0) {
    if (frame_size - position < kChecksum) return {Problem::kTruncated};
    const auto expected = static_cast<std::uint32_t>(xxh64(out, produced));
    if (load_le<std::uint32_t>(frame + position) != expected) return {Problem::kChecksum};
    position += kChecksum;
  }
  if (position != frame_size) return {Problem::kTrailing, frame_size - position};
  if (produced != size) return {Problem::kTooShort, produced};
  return {};
}

}  // namespace ternzip::zstd
