// The inner loops of byte planes and of their Huffman codes: two tables per instruction set, filled by
// kernels.cpp.
//
// Only the tables leave those objects (core/simd/isa_source.hpp). Pointers need no alignment.
#pragma once

#include <cstddef>
#include <cstdint>

namespace ternzip::planes {

inline constexpr unsigned kStreams = 4;
inline constexpr unsigned kMaxEntrySymbols = 6;
inline constexpr std::size_t kWindow = 32;
inline constexpr unsigned kEnoughRepeats = 4;
inline constexpr std::size_t kRepeatsTable = std::size_t{1} << 14;

// One entry of a decoding table, by the next `table_bits` bits of a stream: in its lowest bytes the 1 to
// kMaxEntrySymbols symbols whose codes are complete within them, then the bits of those codes, then their
// number.
using DecodeEntry = std::uint64_t;

constexpr DecodeEntry make_entry(std::uint64_t symbols, unsigned bits, unsigned number) noexcept {
  return symbols | std::uint64_t{bits} << 48 | std::uint64_t{number} << 56;
}

// One of the interleaved streams while it is decoded. The lowest `count` bits of `bits` are the next of the
// stream, in order from the lowest; those above them are zeros or the bits that follow.
struct StreamCursor {
  const std::uint8_t* next;  // bytes that are not, or not wholly, in `bits`
  const std::uint8_t* end;
  std::uint8_t* out;
  std::uint8_t* out_end;
  std::uint64_t bits;
  unsigned count;
};

// A code, first bit lowest, and above it (from bit 16 on) its length.
using Code = std::uint32_t;

// What encoding takes; a table of its own, so that a program that only decodes need not hold it.
struct EncodingKernels {
  // By element width: index 0..3 for 1, 2, 4, 8 bytes. Byte j of every element, after a rotation to the left
  // by `rotation` < 8 * width bits, goes to planes[j].
  void (*split[4])(const void* src, std::size_t count, unsigned rotation, std::uint8_t* const* planes);
  // Adds to counts[256] how often each byte occurs; size < 2^32.
  void (*count)(const std::uint8_t* src, std::size_t size, std::uint32_t* counts);
  // Whether kEnoughRepeats windows of kWindow bytes that are not all zero, among about one in 1024 that a
  // hash of their first elements picks, are equal to an earlier one. `table` has kRepeatsTable entries, all
  // zero.
  bool (*has_repeats[4])(const void* src, std::size_t count, std::uint32_t* table);
  // For `groups` groups of eight bytes: see zeros.hpp. Returns the end of `rest`; may write 8 bytes beyond
  // it.
  std::uint8_t* (*split_zeros)(const std::uint8_t* plane, std::size_t groups, std::uint8_t* bitmap,
                               std::uint8_t* rest);
  // Writes the codes of the bytes and returns the end; may write 8 bytes beyond it. At most 12 bits a code.
  std::uint8_t* (*encode)(const std::uint8_t* src, std::size_t size, const Code* codes, std::uint8_t* out);
};

struct DecodingKernels {
  // The reverse of `split`.
  void (*merge[4])(const std::uint8_t* const* planes, std::size_t count, unsigned rotation, void* dst);
  // That of `split_zeros`: moves `rest` on, stops where fewer than 8 bytes are left of it, and returns how
  // many groups it has done.
  std::size_t (*merge_zeros)(const std::uint8_t* bitmap, std::size_t groups, const std::uint8_t** rest,
                             const std::uint8_t* rest_end, std::uint8_t* plane);
  // Decodes while every stream has 8 bytes to read and room for what a round may write; table_bits is 11
  // or 12.
  void (*decode)(const DecodeEntry* table, unsigned table_bits, StreamCursor* streams);
};

// The tables of the active instruction set (core/simd/isa.hpp).
const EncodingKernels& encoding_kernels() noexcept;
const DecodingKernels& decoding_kernels() noexcept;

extern const EncodingKernels kEncodingBaseline;
extern const DecodingKernels kDecodingBaseline;
#if defined(TERNZIP_X86)
extern const EncodingKernels kEncodingAvx2, kEncodingAvx512;
extern const DecodingKernels kDecodingAvx2, kDecodingAvx512;
#endif

}  // namespace ternzip::planes
