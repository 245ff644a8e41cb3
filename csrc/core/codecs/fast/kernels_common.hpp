// Shared source of the per-instruction-set objects. Everything has internal linkage (see kernels.hpp),
// and nothing from the standard library but memcpy is called.
#pragma once

#include <cstring>

#include "core/codecs/fast/kernels.hpp"

// Loops of constant count whose arrays shall live in registers.
#if defined(__clang__)
#define TERNZIP_UNROLL _Pragma("clang loop unroll(full)")
#elif defined(__GNUC__)
#define TERNZIP_UNROLL _Pragma("GCC unroll 16")
#else
#define TERNZIP_UNROLL
#endif

namespace ternzip::fast {
namespace {

// Whole records are copied, whatever their length: a copy of constant size is one or two moves.
template <unsigned kStride, unsigned kCount>
inline std::int8_t* emit_symbols(const DecodeTables& tables, const std::uint8_t* symbols, std::int8_t* out) {
  TERNZIP_UNROLL
  for (unsigned i = 0; i < kCount; ++i) {
    const std::uint8_t* record = tables.records + std::size_t{symbols[i]} * kStride;
    std::memcpy(out, record, kStride);
    out += record[kStride - 1];
  }
  return out;
}

// The symbols of a round are emitted while the next is decoded, so that the latency of the states and the
// many moves overlap: a round is begun only if there is room for two.
inline bool round_fits(const DecodeTables& tables, unsigned lanes, const Cursor& cursor) {
  return cursor.rounds != 0 && cursor.words_end - cursor.words >= static_cast<std::ptrdiff_t>(2 * lanes) &&
         cursor.out_end - cursor.out >= static_cast<std::ptrdiff_t>(2 * lanes * tables.longest + kOverrun);
}

}  // namespace
}  // namespace ternzip::fast
