// The `fast` codec: trits parsed into variable-length symbols, coded by interleaved rANS.
//
// The symbols are the leaves of a parse tree (Tunstall's) grown from the counts of the whole tensor: each
// stands for a string of 1 to 63 trits, long runs of zeros among them, and all are about equally probable, so
// that 12-bit frequencies are precise at any density and one decoding step yields many trits. A chunk is cut
// into blocks that decode alone; each holds up to 64 interleaved rANS states. A small tensor takes one state
// and no blocks. docs/format-fast.md specifies every byte. All arithmetic is on integers: same input, same
// bytes, on every machine.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "core/base/trit_counts.hpp"
#include "core/tensor/element_writer.hpp"

namespace ternzip::fast {

inline constexpr std::size_t kMaxTrits = std::size_t{1} << 22;

// What the encoder may be told; the defaults are what files are written with, and alone make short payloads.
// The decoder reads all of it from the payload.
struct Options {
  unsigned lanes = 0;       // interleaved states: a power of two up to 64; 0: chosen by size
  unsigned block_bits = 0;  // log2 of the trits in a block, 10..22; 0: chosen by size
  unsigned max_length = 0;  // the longest symbol, 1..63 trits; 0: chosen by the counts
  unsigned precision = 0;   // frequencies are multiples of 2^-precision, 8..16; 0: chosen by the counts
};

// Encodes n <= kMaxTrits trits. A tensor of one value needs no payload. Throws std::invalid_argument if n is
// too large, a value is no trit, the chunk holds more of a trit than `counts`, or an option is out of range.
std::vector<std::uint8_t> encode(const std::int8_t* trits, std::size_t n, const TritCounts& counts,
                                 const Options& options);

// Decodes the n trits of a chunk. Any payload ends in time and memory bounded by n; false if it is not one
// that can stand for n trits under `counts` (what `out` then holds is unspecified).
bool decode(const std::uint8_t* payload, std::size_t size, std::size_t n, const TritCounts& counts,
            std::int8_t* out);

// The same into the elements of a tensor, counted; where it is false, some may have been written.
bool decode_into(const std::uint8_t* payload, std::size_t size, std::size_t n, const TritCounts& counts,
                 ElementWriter& writer);

}  // namespace ternzip::fast
