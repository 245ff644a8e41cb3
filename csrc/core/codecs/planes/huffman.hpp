// Huffman codes for the bytes of one plane: static, canonical, at most 12 bits long, in four interleaved
// streams. docs/format-planes.md states the payload; everything in it is integers.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>

namespace ternzip {

inline constexpr std::size_t kHuffmanMaxBytes = std::size_t{1} << 22;

using ByteCounts = std::array<std::uint32_t, 256>;

// How often each byte occurs; size < 2^32.
ByteCounts count_bytes(const std::uint8_t* bytes, std::size_t size) noexcept;

// The size of the payload that huffman_encode makes of bytes that occur so often, which may take up to three
// bytes more; 0 where fewer than two bytes occur.
std::size_t huffman_size(const ByteCounts& counts) noexcept;

// A payload: `size` bytes at `bytes`.
struct HuffmanPayload {
  std::unique_ptr<std::uint8_t[]> bytes;
  std::size_t size = 0;
};

// `counts` are those of the bytes. A std::invalid_argument where `size` exceeds kHuffmanMaxBytes, where fewer
// than two bytes occur, or where the counts are found to be others.
HuffmanPayload huffman_encode(const std::uint8_t* bytes, std::size_t size, const ByteCounts& counts);

// Fills out[0 .. size), or returns false for what is no payload of that many bytes; then `out` is
// unspecified. Any payload ends in time and memory that `size` bounds. Throws nothing.
bool huffman_decode(const std::uint8_t* payload, std::size_t payload_size, std::uint8_t* out,
                    std::size_t size) noexcept;

}  // namespace ternzip
