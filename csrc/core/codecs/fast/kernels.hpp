// The inner loops of the `fast` decoder, one object per instruction set.
//
// Only the pointers below leave such an object: an inline function shared with other objects could be linked
// in the version compiled for the wrong instruction set.
#pragma once

#include <cstddef>
#include <cstdint>

#include "core/base/compiler.hpp"

namespace ternzip::fast {

inline constexpr unsigned kSlotPrecision = 12;  // the highest precision with packed slots

// What decoding looks up. A slot holds frequency | (slot - start) << 12 | symbol << 24. A record holds the
// trits of a symbol, padded with zeros, and in its last byte their number; records are `stride` bytes.
struct DecodeTables {
  std::uint32_t slots[1u << kSlotPrecision];
  alignas(64) std::uint8_t records[257 * 64];  // room to copy 64 bytes from any
  unsigned stride;                             // 8, 16, 32 or 64: more than the longest symbol
  unsigned longest;
  unsigned precision;
};

struct Cursor {
  std::uint32_t* states;      // `lanes` of them
  const std::uint8_t* words;  // 16-bit little-endian words still unread,
  const std::uint8_t* words_end;
  std::int8_t* out;            // next trit,
  const std::int8_t* out_end;  // end of what may be written
  std::size_t rounds;          // rounds of one symbol a lane still wanted
};

// A round writes at most lanes * longest trits and then, by copying whole patterns, up to this many bytes
// more.
inline constexpr std::size_t kOverrun = 64;

// Decodes rounds while words cannot run out within the next one, nor room within the next two; 8 <= lanes <=
// 64 and precision <= kSlotPrecision.
using DecodeRounds = void (*)(const DecodeTables& tables, unsigned lanes, Cursor& cursor);

extern const DecodeRounds kBaselineDecodeRounds;
#if defined(TERNZIP_X86)
extern const DecodeRounds kAvx2DecodeRounds;
extern const DecodeRounds kAvx512DecodeRounds;
#elif defined(TERNZIP_NEON)
extern const DecodeRounds kNeonDecodeRounds;
#endif

}  // namespace ternzip::fast
