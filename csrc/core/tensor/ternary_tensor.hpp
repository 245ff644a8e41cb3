// Ternary tensors by bit pattern: is this one, which are its levels, and its elements as trits
// (core/tensor/element_writer.hpp leads back).
//
// A tensor is ternary if its elements take at most the patterns {a, 0, b} with a < 0 < b; for
// floating-point types that have one, -0.0 is a zero too. A NaN is no level; an infinity may be one. Source
// and destination pointers need no alignment.
#pragma once

#include <cstddef>
#include <cstdint>

#include "core/base/trit_counts.hpp"
#include "core/tensor/dtype.hpp"

namespace ternzip {

struct TernaryLevels {
  bool is_ternary = false;
  std::uint64_t negative_bits = 0;  // raw pattern; 0 where the level does not occur
  std::uint64_t positive_bits = 0;
  TritCounts counts;                 // zeros of both signs
  std::uint64_t negative_zeros = 0;  // of which negative
};

// Reads no further than the first block that shows the tensor is not ternary (counts are then 0).
TernaryLevels detect_levels(const void* src, std::size_t n, const Format& format, unsigned threads) noexcept;

// Trits by sign: 0 for zeros, else -1 or +1.
void extract_trits(const void* src, std::size_t n, const Format& format, std::int8_t* trits,
                   unsigned threads) noexcept;

// Writes -1 for every negative zero and +1 for every positive one, in order, to `signs`, which has room for
// the `room` zeros that detect_levels counts; returns how many there are, more or fewer where the elements
// have changed since.
std::size_t extract_zero_signs(const void* src, std::size_t n, const Format& format, std::int8_t* signs,
                               std::size_t room) noexcept;

// The inverse, in place: a zero with a negative sign becomes the negative zero. False, with nothing
// changed, if there are not exactly n_signs zeros, or a sign is negative and the type has no negative zero.
bool apply_zero_signs(void* dst, std::size_t n, const Format& format, const std::int8_t* signs,
                      std::size_t n_signs) noexcept;

// Counts of -1, 0, +1 and of every other value.
CheckedTritCounts count_trits(const std::int8_t* trits, std::size_t n) noexcept;

}  // namespace ternzip
