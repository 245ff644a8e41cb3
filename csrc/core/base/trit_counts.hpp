#pragma once

#include <cstdint>

namespace ternzip {

// How often each symbol occurs in a whole tensor, known to encoder and decoder; a chunk of the tensor holds
// at most as many of each.
struct TensorCounts {
  std::uint64_t negative = 0;
  std::uint64_t zero = 0;
  std::uint64_t positive = 0;
};

}  // namespace ternzip
