// From the payload of a chunk to its symbols, by whichever codec (docs/FORMAT.md, section 7).
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>

#include "core/base/trit_counts.hpp"
#include "core/container/layout.hpp"
#include "core/tensor/element_writer.hpp"

namespace ternzip::container {

enum class Codec : std::uint8_t { kPacked = 0, kStatic = 1, kContext = 2, kFast = 3 };

// Why this version cannot decode what a codec wrote, given how long its parameters are; nothing if it can.
std::optional<std::string> codec_problem(std::uint8_t code, std::uint64_t parameter_bytes);

// One chunk of a tensor in which `counts` are those of all chunks.
struct ChunkPayload {
  const std::uint8_t* data;
  std::size_t size;
  Geometry geometry;
  TritCounts counts;
  CodecUse codec;  // one that codec_problem has no problem with; none where only one symbol occurs
};

// Fills out[symbols], or throws FileError.
void decode_symbols(const ChunkPayload& chunk, std::int8_t* out);

// The same into the elements of a tensor, counted.
void decode_symbols(const ChunkPayload& chunk, ElementWriter& writer);

}  // namespace ternzip::container
