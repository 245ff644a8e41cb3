// The model of the `fast` codec, shared by both directions: header, parse tree, frequencies.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "core/codecs/fast/fast.hpp"

namespace ternzip::fast {

inline constexpr unsigned kMaxSymbols = 256;
inline constexpr unsigned kMaxLength = 63;
inline constexpr unsigned kMaxLanes = 64;
inline constexpr unsigned kMinBlockBits = 10;
inline constexpr unsigned kMaxBlockBits = 22;
inline constexpr unsigned kMinPrecision = 8;
inline constexpr unsigned kMaxPrecision = 16;
inline constexpr std::size_t kHeaderSize = 6;
inline constexpr std::size_t kBlockEntrySize = 6;
inline constexpr std::uint32_t kStateFloor = 1u << 16;  // every state stays in [2^16, 2^32)

// From this many lanes on, the states start from the coded tail of the block instead of from nothing.
inline constexpr unsigned kMinTailLanes = 8;

struct Header {
  unsigned lane_bits = 5;     // log2 of the interleaved states
  bool adapted = false;       // the frequencies are corrected by transmitted factors
  unsigned precision = 12;    // frequencies sum to 2^precision
  unsigned max_length = 7;    // no symbol is longer
  unsigned symbol_limit = 0;  // the tree grows up to this many leaves
  unsigned block_bits = 16;   // every block but the last holds 2^block_bits trits

  unsigned lanes() const noexcept { return 1u << lane_bits; }
};

void write_header(const Header& header, std::uint8_t* bytes) noexcept;
// False if a field is out of range.
bool read_header(const std::uint8_t* bytes, Header& header) noexcept;

// A node is a string of trits; the children of an inner node follow each other from `first_child` on, one for
// each trit that occurs in the tensor, in ascending order.
struct Node {
  std::uint64_t weight = 0;  // probability in units of 2^-32, at least 1
  std::int16_t parent = -1;
  std::int16_t first_child = -1;  // -1: a leaf
  std::int16_t symbol = -1;       // a leaf's
  std::uint8_t length = 0;
  std::int8_t trit = 0;  // the last of the string
};

struct ParseTree {
  std::vector<Node> nodes;
  std::vector<std::int16_t> leaves;  // symbol -> node
  std::array<std::int8_t, 3> present{};
  unsigned arity = 0;  // trits that occur
};

// Grows the tree from the counts of the whole tensor, at least two of which are not zero, by splitting the
// most probable leaf shorter than max_length (of equals the oldest) while the leaves do not exceed
// symbol_limit >= 3.
ParseTree grow_tree(const TritCounts& counts, unsigned symbol_limit, unsigned max_length);

// How many of the three values occur.
unsigned distinct_trits(const TritCounts& counts) noexcept;

// A transmitted correction is one of 16 factors 2^((index - 8) / 4), in units of 2^-12.
inline constexpr std::array<std::uint32_t, 16> kFactors = {1024, 1218, 1448, 1722, 2048, 2435, 2896,  3444,
                                                           4096, 4871, 5793, 6889, 8192, 9742, 11585, 13777};
inline constexpr unsigned kUnitFactor = 8;

// They are transmitted in four bits each, an even number of bytes in all.
constexpr std::size_t factor_bytes(std::size_t symbols) noexcept { return (symbols + 3) / 4 * 2; }
void write_factors(std::span<const std::uint8_t> factors, std::uint8_t* bytes) noexcept;
// Fills `factors`, one for each symbol; false if an unused half byte is not zero.
bool read_factors(const std::uint8_t* bytes, std::span<std::uint8_t> factors) noexcept;

// Frequencies f >= 1 with sum 2^precision, in proportion to the weights of the leaves times their factors
// (`factors` is empty or holds an index into kFactors for each symbol). Needs 2^precision >= symbols.
std::vector<std::uint32_t> frequencies(const ParseTree& tree, std::span<const std::uint8_t> factors,
                                       unsigned precision);

}  // namespace ternzip::fast
