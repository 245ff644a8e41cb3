// Levels of a ternary tensor as they lie in memory: an element of its type for each block, all bits 0 where
// the block has no such level.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace ternzip::container {

struct Levels {
  std::vector<std::uint8_t> negative;
  std::vector<std::uint8_t> positive;
};

// Which of the levels are stored; symmetric ones are those of -1 alone.
struct StoredLevels {
  bool negative;
  bool positive;
  bool symmetric;
};

// Checks the sequences that are stored and makes the others: `levels` has both in their size, of elements of
// the dtype code. Throws FileError.
void complete_levels(int dtype, const StoredLevels& stored, Levels& levels);

}  // namespace ternzip::container
