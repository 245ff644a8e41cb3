// Linear layers whose weights are two bit planes, for one vector or a few.
#pragma once

#include <cstddef>
#include <cstdint>

#include "core/runtime/activations.hpp"

namespace ternzip {

// The two planes of a matrix (rows, columns) lie as words of 32 bits in the order
//   [ceil(rows / 8)][ceil(columns / 32)][8 rows][2 planes],
// bit i of a word for column 32 j + i: of the first plane for a weight of +1, of the second for a -1. Bits
// beyond the last column and of rows beyond the last are 0.
constexpr std::size_t words_of_planes(std::size_t rows, std::size_t columns) noexcept {
  return (rows + 7) / 8 * ((columns + 31) / 32) * 16;
}

// planes[words_of_planes(rows, columns)] of int8 trits (rows, columns); a trit counts by its sign.
void build_planes(const std::int8_t* trits, std::size_t rows, std::size_t columns,
                  std::uint32_t* planes) noexcept;

// The trits of two planes; 0 where both have a bit.
void read_planes(const std::uint32_t* planes, std::size_t rows, std::size_t columns,
                 std::int8_t* trits) noexcept;

struct Matrix {
  std::size_t rows;
  std::size_t columns;
  const std::uint32_t* planes;
  const float* positives;  // of each row: the level of +1
  const float* negatives;  // and of -1
};

// out (batch, rows) of x (batch, columns), in x's type. In float32, for each row
//   positives * (x where the weight is +1) + negatives * (x where it is -1) + bias + residual_scale *
//   residual,
// clamped; both sums are added up in 16 lanes, which are then added in pairs: the same bits for any number of
// threads, batch or instruction set. Throws std::bad_alloc.
void multiply(const Matrix& matrix, const Activations& x, std::size_t batch, const LayerEpilogue& epilogue,
              void* out, unsigned threads);

}  // namespace ternzip
