// What the `fast` decoder on a device is told: the blocks and tables that the CPU has read from the headers
// of a tensor's chunks (cuda_fast_plan.hpp), and where the elements go.
#pragma once

#include <cstddef>
#include <cstdint>

namespace ternzip::cuda {

inline constexpr unsigned kFastSymbols = 256;

// One block of docs/format-fast.md.
struct FastBlock {
  std::uint64_t states;   // offset in the payload bytes, even
  std::uint64_t out;      // its first element
  std::uint32_t words;    // how many follow the states
  std::uint32_t symbols;  // interleaved ones
  std::uint32_t trits;
  std::uint32_t table;
};

// One chunk's model. Symbol i takes frequency(i) slots from start(i) on and stands for length[i] trits.
struct FastTable {
  std::uint32_t precision;
  std::uint32_t lanes;
  std::uint32_t longest;
  std::uint32_t symbols;
  std::uint32_t range[kFastSymbols];     // frequency | start << 16
  std::uint64_t nonzero[kFastSymbols];   // bit k: trit k of the string is not 0
  std::uint64_t negative[kFastSymbols];  // bit k: it is -1
  std::uint8_t length[kFastSymbols];
};

struct FastBatch {
  const std::uint8_t* payload;
  const FastBlock* blocks;
  const FastTable* tables;
  std::uint8_t* slots;  // 2^slot_bits bytes a table, to be filled: the symbol of each slot
  std::uint32_t block_count;
  std::uint32_t table_count;
  std::uint32_t slot_bits;                 // the highest precision
  std::uint32_t element_size;              // 1, 2, 4 or 8 bytes
  void* out;                               // aligned to its element
  std::uint64_t negative, zero, positive;  // patterns of the elements
  const std::uint64_t* row_negative;       // null, or patterns by row, 0 where a row has no such level
  const std::uint64_t* row_positive;
  std::uint64_t cols;    // elements of a row
  std::int64_t* counts;  // four a table, added to: -1, 0, +1, refused blocks
};

}  // namespace ternzip::cuda
