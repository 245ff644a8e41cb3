// Linear layers that look up sums of two inputs, for one vector or a few.
#pragma once

#include <cstddef>
#include <cstdint>

#include "core/runtime/activations.hpp"

namespace ternzip {

// How the trits of a matrix (rows, columns) lie. Columns are cut into groups of `group_width`, the last maybe
// narrower, which have levels of their own. Two trits of a row side by side are a code of four bits, for what
// they make of their inputs a and b:
//   0: 0   1: a   2: b   3: a + b   4: a - b   and 8 more: the opposite.
// Codes lie as words of 32 bits in the order
//   [ceil(rows / 16)][groups][ceil(group_width / 16)][16 rows],
// bits 4 i to 4 i + 3 of a word for the columns 16 w + 2 i and 16 w + 2 i + 1 of the group. Codes of rows and
// columns that do not exist are 0.
struct MatrixShape {
  std::size_t rows;
  std::size_t columns;
  std::size_t group_width;

  std::size_t groups() const noexcept { return (columns + group_width - 1) / group_width; }
  std::size_t group_words() const noexcept { return (group_width + 15) / 16; }
  std::size_t tiles() const noexcept { return (rows + 15) / 16; }
  std::size_t level_rows() const noexcept { return 16 * tiles(); }  // of an array of levels
  std::size_t words() const noexcept { return tiles() * groups() * group_words() * 16; }
};

// Whether every number is positive, groups are no wider than a row, and all sizes are below 2^40.
bool is_valid_matrix(const MatrixShape& shape) noexcept;

// codes[shape.words()] of int8 trits (rows, columns); a trit counts by its sign.
void build_codes(const std::int8_t* trits, const MatrixShape& shape, std::uint32_t* codes) noexcept;

// The trits of codes; codes that stand for nothing give zeros.
void read_codes(const std::uint32_t* codes, const MatrixShape& shape, std::int8_t* trits) noexcept;

struct Matrix {
  MatrixShape shape;
  const std::uint32_t* codes;  // any values can be run
  const float* positives;      // [groups][level_rows]: the level of +1
  const float* negatives;      // the same, of -1; null where each is the opposite of the positive one
};

// out (batch, rows) of x (batch, columns), in x's type. In float32, for each row the sum over its groups of
//   positive * (x where the weight is +1) + negative * (x where it is -1),
// or positive * (x where it is +1, minus x where it is -1), each sum from the left to the right and two
// inputs at a time; then bias + residual_scale * residual, clamped. The order depends on the layer alone: the
// same bits for any number of threads, batch or instruction set. Throws std::bad_alloc.
void multiply(const Matrix& matrix, const Activations& x, std::size_t batch, const LayerEpilogue& epilogue,
              void* out, unsigned threads);

}  // namespace ternzip
