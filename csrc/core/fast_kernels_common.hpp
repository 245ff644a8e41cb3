// Shared source of the per-instruction-set objects. Everything has internal linkage (see fast_kernels.hpp),
// and nothing from the standard library but memcpy is called.
#pragma once

#include <cstring>

#include "core/fast_kernels.hpp"

namespace ternzip::fast {
namespace {

// Whole patterns are copied, whatever their length: a copy of constant size is one or two moves.
template <unsigned kStride>
inline std::int8_t* emit_symbols(const DecodeTables& tables, const std::uint8_t* symbols, unsigned count,
                                 std::int8_t* out) {
  for (unsigned i = 0; i < count; ++i) {
    const std::size_t symbol = symbols[i];
    std::memcpy(out, tables.patterns + symbol * kStride, kStride);
    out += tables.lengths[symbol];
  }
  return out;
}

inline bool round_fits(const DecodeTables& tables, unsigned lanes, const Cursor& cursor) {
  return cursor.rounds != 0 && cursor.words_end - cursor.words >= static_cast<std::ptrdiff_t>(2 * lanes) &&
         cursor.out_end - cursor.out >= static_cast<std::ptrdiff_t>(lanes * tables.longest + kOverrun);
}

template <class Element>
void expand_as(const std::int8_t* trits, std::size_t n, std::uint64_t negative, std::uint64_t positive,
               void* dst) {
  const auto low = static_cast<Element>(negative);
  const auto high = static_cast<Element>(positive);
  auto* bytes = static_cast<unsigned char*>(dst);
  for (std::size_t i = 0; i < n; ++i) {
    const Element below = static_cast<Element>(trits[i] < 0 ? low : Element{0});
    const Element value = static_cast<Element>(trits[i] > 0 ? high : below);
    std::memcpy(bytes + i * sizeof(Element), &value, sizeof(Element));
  }
}

void expand_trits(const std::int8_t* trits, std::size_t n, unsigned size, std::uint64_t negative,
                  std::uint64_t positive, void* dst) {
  switch (size) {
    case 1: return expand_as<std::uint8_t>(trits, n, negative, positive, dst);
    case 2: return expand_as<std::uint16_t>(trits, n, negative, positive, dst);
    case 4: return expand_as<std::uint32_t>(trits, n, negative, positive, dst);
    default: return expand_as<std::uint64_t>(trits, n, negative, positive, dst);
  }
}

// Calls loop<stride>(tables, lanes, cursor) with the stride as a constant.
#define TERNZIP_FAST_BY_STRIDE(loop)                 \
  switch (tables.stride) {                           \
    case 8: return loop<8>(tables, lanes, cursor);   \
    case 16: return loop<16>(tables, lanes, cursor); \
    case 32: return loop<32>(tables, lanes, cursor); \
    default: return loop<64>(tables, lanes, cursor); \
  }

}  // namespace
}  // namespace ternzip::fast
