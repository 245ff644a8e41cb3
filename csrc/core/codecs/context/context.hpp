// The `context` codec: ternary tensors at the fewest bytes, by an adaptive model
// (core/codecs/context/model.hpp) that drives a binary rANS coder (core/codecs/context/binary_rans.hpp).
// Integer arithmetic throughout: the same trits give the same bytes on every machine. docs/format-context.md
// specifies the payload.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "core/base/trit_counts.hpp"

namespace ternzip::context {

// A chunk of a ternary tensor in C order: out-channels, in-channels, weights of a kernel.
struct Geometry {
  std::size_t rows = 0, cols = 0, kernel = 0;
  std::size_t size() const noexcept { return rows * cols * kernel; }
};

// The rates that the model starts from; a symbol whose count is zero does not occur in any chunk.

// How much the model may cost. The payload says which it was.
enum class Effort : std::uint8_t { kQuick = 1, kDefault = 2, kMax = 3 };

// Encodes rows * cols * kernel trits (-1, 0, +1). Throws std::invalid_argument if a trit is none of these or
// of a symbol whose count is zero, or if the product overflows, or cols * kernel does 32 bits.
std::vector<std::uint8_t> encode(const std::int8_t* trits, const Geometry& geometry, const TritCounts& counts,
                                 Effort effort);

struct DecodeJob {
  const std::uint8_t* payload = nullptr;
  std::size_t payload_size = 0;
  Geometry geometry;
  TritCounts counts;
  std::int8_t* out = nullptr;  // rows * cols * kernel trits
};

// Decodes a chunk. False if the payload is not one that encode can have written (what `out` then holds is
// unspecified). A damaged payload ends with false or, rarely, with wrong trits, in time bounded by its bytes:
// it is refused at once if it has too few for its trits and its effort. Memory beside `out` stays below 16 MB
// for chunks of up to 2^22 trits, and std::bad_alloc says where that is not to be had.
bool decode(const DecodeJob& job);

// Decodes several, two at a time in one thread: their chains of dependent instructions overlap. What decode
// would return of each goes to accepted[count].
void decode_many(const DecodeJob* jobs, std::size_t count, bool* accepted);

}  // namespace ternzip::context
