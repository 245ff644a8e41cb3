// Compiled once per instruction set; see core/simd/isa_source.hpp for what may stand here.
#include "core/codecs/planes/kernels.hpp"

#include "core/simd/isa_source.hpp"

namespace ternzip::planes {
namespace {

using U8 = std::uint8_t;
using U16 = std::uint16_t;
using U32 = std::uint32_t;
using U64 = std::uint64_t;

// ------------------------------------------------------------------------------------------- splitting

// Elements are handled in blocks so that all passes over one find it in the first cache level.
constexpr std::size_t kBlock = 1024;

template <class UInt>
inline UInt rotate_left(UInt value, unsigned rotation) {
  constexpr unsigned kBits = 8 * sizeof(UInt);
  return static_cast<UInt>(static_cast<UInt>(value << rotation) | value >> ((kBits - rotation) % kBits));
}

template <class UInt>
void split(const void* src, std::size_t count, unsigned rotation, U8* const* planes) {
  const auto* x = static_cast<const unaligned_t<UInt>*>(src);
  for (std::size_t start = 0; start < count; start += kBlock) {
    const std::size_t end = count - start < kBlock ? count : start + kBlock;
    for (unsigned plane = 0; plane < sizeof(UInt); ++plane) {
      U8* out = planes[plane];
      const unsigned shift = 8 * plane;
      for (std::size_t i = start; i < end; ++i) {
        out[i] = static_cast<U8>(rotate_left<UInt>(x[i], rotation) >> shift);
      }
    }
  }
}

template <class UInt>
void merge(const U8* const* planes, std::size_t count, unsigned rotation, void* dst) {
  auto* y = static_cast<unaligned_t<UInt>*>(dst);
  const unsigned back = (8 * sizeof(UInt) - rotation) % (8 * sizeof(UInt));
  const U8* in[sizeof(UInt)];
  for (unsigned plane = 0; plane < sizeof(UInt); ++plane) in[plane] = planes[plane];
  for (std::size_t i = 0; i < count; ++i) {
    UInt value = 0;
    for (unsigned plane = 0; plane < sizeof(UInt); ++plane) {
      value = static_cast<UInt>(value | static_cast<UInt>(UInt{in[plane][i]} << (8 * plane)));
    }
    y[i] = rotate_left<UInt>(value, back);
  }
}

// ------------------------------------------------------------------------------------------ statistics

void count_bytes(const U8* src, std::size_t size, U32* counts) {
  // Four tables: a byte that follows its like does not wait for the count before it.
  U32 part[4][256] = {};
  std::size_t i = 0;
  for (; i + 8 <= size; i += 8) {
    const U64 word = *reinterpret_cast<const unaligned_t<U64>*>(src + i);
    for (unsigned j = 0; j < 8; ++j) ++part[j % 4][static_cast<U8>(word >> (8 * j))];
  }
  for (; i < size; ++i) ++part[0][src[i]];
  for (unsigned symbol = 0; symbol < 256; ++symbol) {
    counts[symbol] += part[0][symbol] + part[1][symbol] + part[2][symbol] + part[3][symbol];
  }
}

// Whether the window that begins with element i is picked. The same bytes are picked wherever they lie, so
// that no distance escapes.
inline bool is_picked(const unaligned_t<U8>* x, std::size_t i) {
  const auto low = static_cast<U16>(x[i] | x[i + 1] << 8), high = static_cast<U16>(x[i + 2] | x[i + 3] << 8);
  return static_cast<U16>(low * 0x9E37u + high * 0x79B9u) < 64;
}
inline bool is_picked(const unaligned_t<U16>* x, std::size_t i) {
  return static_cast<U16>(x[i] * 0x9E37u + x[i + 1] * 0x79B9u) < 64;
}
inline bool is_picked(const unaligned_t<U32>* x, std::size_t i) { return x[i] * 0x9E3779B1u < 1u << 22; }
inline bool is_picked(const unaligned_t<U64>* x, std::size_t i) {
  return static_cast<U32>(x[i] ^ x[i] >> 32) * 0x9E3779B1u < 1u << 22;
}

template <class UInt>
bool has_repeats(const void* src, std::size_t count, U32* table) {
  const auto* x = static_cast<const unaligned_t<UInt>*>(src);
  constexpr std::size_t kElements = kWindow / sizeof(UInt);
  constexpr std::size_t kStep = 64;  // picked windows are looked for in vectors first
  unsigned found = 0;
  for (std::size_t start = 0; start + kStep + kElements <= count; start += kStep) {
    unsigned picked = 0;
    for (std::size_t i = start; i < start + kStep; ++i) picked |= is_picked(x, i) ? 1u : 0u;
    if (picked == 0) continue;
    for (std::size_t i = start; i < start + kStep; ++i) {
      if (!is_picked(x, i)) continue;
      U64 key = 0;
      for (std::size_t j = 0; j < kElements; ++j) key = (key ^ x[i + j]) * 0x9E3779B97F4A7C15u;
      if (key == 0) continue;  // zeros, which say nothing of matches
      U32& entry = table[key >> 50];
      const U32 mark = static_cast<U32>(key >> 16) | 1u;  // an empty entry is 0
      if (entry == mark && ++found == kEnoughRepeats) return true;
      entry = mark;
    }
  }
  return false;
}

// Streams are little-endian on every host.
inline U64 little_endian(U64 value) {
#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
  return __builtin_bswap64(value);
#else
  return value;
#endif
}

inline void store64(U8* out, U64 value) { *reinterpret_cast<unaligned_t<U64>*>(out) = little_endian(value); }

inline U64 load64(const U8* bytes) {
  return little_endian(*reinterpret_cast<const unaligned_t<U64>*>(bytes));
}

// ----------------------------------------------------------------------------------------------- zeros

// Bit j: byte j of the eight is not 0.
inline unsigned nonzero_bits(U64 bytes) {
  constexpr U64 kLow = 0x7F7F7F7F7F7F7F7F;
  const U64 tops = (((bytes & kLow) + kLow) | bytes) & ~kLow;
  // The top bit of byte j, at 8 j + 7, is moved to bit 56 + j.
  return static_cast<unsigned>((tops >> 7) * 0x0102040810204080 >> 56);
}

// 255 in the bytes whose bit is set; for instruction sets that have pext and pdep.
[[maybe_unused]] inline U64 byte_mask(unsigned bits) {
  // Copies of the bits, of which each byte keeps its own, which becomes 1 and then 255.
  const U64 own = bits * U64{0x0101010101010101} & 0x8040201008040201;
  return ((own + 0x00406070787C7E7F) >> 7 & 0x0101010101010101) * 0xFF;
}

// Of a byte's bits: sums of two, four and eight neighbours.
inline unsigned count_ones(unsigned bits) {
  bits -= bits >> 1 & 0x55;
  bits = (bits & 0x33) + (bits >> 2 & 0x33);
  return (bits + (bits >> 4)) & 0xF;
}

// The bytes under the mask, moved together, and back.
inline U64 gather_bytes(U64 bytes, unsigned bits) {
#if defined(__BMI2__)
  return __builtin_ia32_pext_di(bytes, byte_mask(bits));
#else
  U64 found = 0;
  for (unsigned at = 0; bits != 0; bits >>= 1, bytes >>= 8) {
    if ((bits & 1) == 0) continue;
    found |= (bytes & 0xFF) << at;
    at += 8;
  }
  return found;
#endif
}
inline U64 scatter_bytes(U64 bytes, unsigned bits) {
#if defined(__BMI2__)
  return __builtin_ia32_pdep_di(bytes, byte_mask(bits));
#else
  U64 found = 0;
  for (unsigned at = 0; bits != 0; bits >>= 1, at += 8) {
    if ((bits & 1) == 0) continue;
    found |= (bytes & 0xFF) << at;
    bytes >>= 8;
  }
  return found;
#endif
}

U8* split_zeros(const U8* plane, std::size_t groups, U8* bitmap, U8* rest) {
  for (std::size_t i = 0; i < groups; ++i) {
    const U64 bytes = load64(plane + 8 * i);
    const unsigned bits = nonzero_bits(bytes);
    bitmap[i] = static_cast<U8>(bits);
    if (bits == 0) continue;
    store64(rest, gather_bytes(bytes, bits));
    rest += count_ones(bits);
  }
  return rest;
}

std::size_t merge_zeros(const U8* bitmap, std::size_t groups, const U8** rest, const U8* rest_end,
                        U8* plane) {
  const U8* next = *rest;
  std::size_t i = 0;
  for (; i < groups && rest_end - next >= 8; ++i) {
    const unsigned bits = bitmap[i];
    store64(plane + 8 * i, bits == 0 ? 0 : scatter_bytes(load64(next), bits));
    next += count_ones(bits);
  }
  *rest = next;
  return i;
}

// --------------------------------------------------------------------------------------------- Huffman

U8* encode(const U8* src, std::size_t size, const Code* codes, U8* out) {
  U64 bits = 0;
  unsigned count = 0;  // below 8 between flushes
  std::size_t i = 0;
  // Codes of two bytes are joined before they meet the bits that wait, which shortens the chain of those.
  for (; i + 4 <= size; i += 4) {
    const Code a = codes[src[i]], b = codes[src[i + 1]], c = codes[src[i + 2]], d = codes[src[i + 3]];
    const U64 ab = (a & 0xFFFF) | U64{b & 0xFFFF} << (a >> 16);
    const U64 cd = (c & 0xFFFF) | U64{d & 0xFFFF} << (c >> 16);
    const unsigned ab_size = (a >> 16) + (b >> 16);
    bits |= (ab | cd << ab_size) << count;
    count += ab_size + (c >> 16) + (d >> 16);
    store64(out, bits);
    out += count / 8;
    bits >>= count & ~7u;
    count %= 8;
  }
  for (; i < size; ++i) {
    const Code code = codes[src[i]];
    bits |= U64{code & 0xFFFF} << count;
    count += code >> 16;
    store64(out, bits);
    out += count / 8;
    bits >>= count & ~7u;
    count %= 8;
  }
  store64(out, bits);
  return out + (count != 0 ? 1 : 0);
}

inline std::size_t less(std::size_t a, std::size_t b) { return a < b ? a : b; }

template <unsigned kTableBits>
void decode_rounds(const DecodeEntry* table, StreamCursor* streams) {
  constexpr unsigned kLookups = 56 / kTableBits;
  constexpr U64 kMask = (U64{1} << kTableBits) - 1;
  StreamCursor s0 = streams[0], s1 = streams[1], s2 = streams[2], s3 = streams[3];
  // Rounds for which a stream has bytes and room, whatever they hold: a round takes at most 7 bytes and
  // writes at most kLookups entries, the last of them with two bytes too many.
  const auto rounds_of = [](const StreamCursor& s) -> std::size_t {
    const std::ptrdiff_t bytes = s.end - s.next, room = s.out_end - s.out;
    if (bytes < 8 || room < 8) return 0;
    const auto by_bytes = static_cast<std::size_t>(bytes - 8) / 7 + 1;
    const auto by_room = static_cast<std::size_t>(room - 2) / (kLookups * kMaxEntrySymbols);
    return less(by_bytes, by_room);
  };
  const auto refill = [](StreamCursor& s) {
    s.bits |= load64(s.next) << s.count;
    s.next += (63 - s.count) / 8;
    s.count |= 56;
  };
  const auto look_up = [table](StreamCursor& s) {
    const DecodeEntry entry = table[s.bits & kMask];
    const auto bits = static_cast<unsigned>(entry >> 48) & 0xFFu;
    store64(s.out, entry);
    s.out += entry >> 56;
    s.bits >>= bits;
    s.count -= bits;
  };
  for (;;) {
    std::size_t rounds = less(less(rounds_of(s0), rounds_of(s1)), less(rounds_of(s2), rounds_of(s3)));
    if (rounds == 0) break;
    for (; rounds != 0; --rounds) {
      refill(s0);
      refill(s1);
      refill(s2);
      refill(s3);
      for (unsigned i = 0; i < kLookups; ++i) {
        look_up(s0);
        look_up(s1);
        look_up(s2);
        look_up(s3);
      }
    }
  }
  streams[0] = s0;
  streams[1] = s1;
  streams[2] = s2;
  streams[3] = s3;
}

void decode(const DecodeEntry* table, unsigned table_bits, StreamCursor* streams) {
  if (table_bits == 11) return decode_rounds<11>(table, streams);
  decode_rounds<12>(table, streams);
}

}  // namespace

const EncodingKernels TERNZIP_TABLE(kEncoding) = {
    {split<U8>, split<U16>, split<U32>, split<U64>},
    count_bytes,
    {has_repeats<U8>, has_repeats<U16>, has_repeats<U32>, has_repeats<U64>},
    split_zeros,
    encode,
};
const DecodingKernels TERNZIP_TABLE(kDecoding) = {
    {merge<U8>, merge<U16>, merge<U32>, merge<U64>},
    merge_zeros,
    decode,
};

}  // namespace ternzip::planes
