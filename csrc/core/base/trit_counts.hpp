// How often each trit occurs.
#pragma once

#include <cstdint>

namespace ternzip {

// Of a whole tensor, where a codec takes it: known to encoder and decoder; a chunk of the tensor holds at
// most as many of each.
struct TritCounts {
  std::uint64_t negative = 0;
  std::uint64_t zero = 0;
  std::uint64_t positive = 0;
};

// Of int8 values that may be none.
struct CheckedTritCounts : TritCounts {
  std::uint64_t invalid = 0;  // beyond -1, 0 and +1
};

}  // namespace ternzip
