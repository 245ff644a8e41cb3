// The decoding loop in vectors of eight lanes. An instruction set brings a class `Lanes` for it, with
//   Vector                                 eight 32-bit integers,
//   Lanes(tables)                          which keeps what it needs in registers,
//   load(p), store(p, vector)              from and to eight integers, p aligned to 4 bytes,
//   indices(states)                        of the slots that are to be looked up,
//   slots(index)                           those slots, by the eight integers of `indices`,
//   next(states, slots, words)             the new states; `words` moves by those that were taken,
//   store_symbols(p, slots)                the eight symbols, p aligned to 8 bytes.
#pragma once

#include "core/codecs/fast/kernels_common.hpp"

namespace ternzip::fast {
namespace {

template <class Lanes, unsigned kVectors, unsigned kStride>
void decode_vectors(const DecodeTables& tables, Cursor& cursor) {
  using Vector = typename Lanes::Vector;
  constexpr unsigned kLanes = 8 * kVectors;
  const Lanes lanes(tables);
  Cursor at = cursor;
  Vector states[kVectors];
  TERNZIP_UNROLL
  for (unsigned v = 0; v < kVectors; ++v) states[v] = lanes.load(at.states + 8 * v);

  // Software pipeline: while a vector is taken further, the slots of the next are loaded and the symbols of
  // the one before are emitted, so that the latencies of the three overlap.
  alignas(32) std::uint32_t index[kVectors][8];
  TERNZIP_UNROLL
  for (unsigned v = 0; v < kVectors; ++v) lanes.store(index[v], lanes.indices(states[v]));
  Vector slots = lanes.slots(index[0]);
  alignas(8) std::uint8_t symbols[8];
  bool waiting = false;
  const auto step = [&](unsigned v) {
    const Vector ahead = kVectors > 1 ? lanes.slots(index[(v + 1) % kVectors]) : slots;
    states[v] = lanes.next(states[v], slots, at.words);
    lanes.store(index[v], lanes.indices(states[v]));
    lanes.store_symbols(symbols, slots);
    slots = kVectors > 1 ? ahead : lanes.slots(index[v]);
  };
  for (; round_fits(tables, kLanes, at); --at.rounds) {
    TERNZIP_UNROLL
    for (unsigned v = 0; v < kVectors; ++v) {
      if (v != 0 || waiting) at.out = emit_symbols<kStride, 8>(tables, symbols, at.out);
      step(v);
    }
    waiting = true;
  }
  if (waiting) at.out = emit_symbols<kStride, 8>(tables, symbols, at.out);

  TERNZIP_UNROLL
  for (unsigned v = 0; v < kVectors; ++v) lanes.store(at.states + 8 * v, states[v]);
  cursor = at;
}

template <class Lanes, unsigned kStride>
void decode_lanes(const DecodeTables& tables, unsigned lanes, Cursor& cursor) {
  switch (lanes) {
    case 64: return decode_vectors<Lanes, 8, kStride>(tables, cursor);
    case 32: return decode_vectors<Lanes, 4, kStride>(tables, cursor);
    case 16: return decode_vectors<Lanes, 2, kStride>(tables, cursor);
    default: return decode_vectors<Lanes, 1, kStride>(tables, cursor);
  }
}

template <class Lanes>
void decode_rounds(const DecodeTables& tables, unsigned lanes, Cursor& cursor) {
  switch (tables.stride) {
    case 8: return decode_lanes<Lanes, 8>(tables, lanes, cursor);
    case 16: return decode_lanes<Lanes, 16>(tables, lanes, cursor);
    case 32: return decode_lanes<Lanes, 32>(tables, lanes, cursor);
    default: return decode_lanes<Lanes, 64>(tables, lanes, cursor);
  }
}

}  // namespace
}  // namespace ternzip::fast
