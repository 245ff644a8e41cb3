#include "core/runtime/matrix_vector.hpp"

#include <algorithm>
#include <initializer_list>

#include "core/base/parallel.hpp"
#include "core/runtime/aligned_floats.hpp"
#include "core/runtime/epilogue.hpp"

namespace ternzip {
namespace {

static_assert(kTileRows == 16 && kWordInputs == 16 && kTableSums == 16, "as the header says");

// Weights for which a second thread is worth its start.
constexpr std::size_t kWeightsPerThread = std::size_t{1} << 22;

// Vectors whose tables are made before any is used.
constexpr std::size_t kVectorsAtOnce = 16;

// Rows whose sums are finished before the next ones are made.
constexpr std::size_t kRowsAtOnce = 128;

// The two trits of each code.
struct Pair {
  std::int8_t first;
  std::int8_t second;
};
constexpr Pair kPairs[kTableSums] = {{0, 0}, {1, 0},  {0, 1},  {1, 1},   {1, -1}, {0, 0}, {0, 0}, {0, 0},
                                     {0, 0}, {-1, 0}, {0, -1}, {-1, -1}, {-1, 1}, {0, 0}, {0, 0}, {0, 0}};

// And the code of two trits, by 3 * (first + 1) + second + 1.
constexpr std::uint32_t kCodes[9] = {11, 9, 12, 10, 0, 2, 4, 1, 3};

int sign_of(std::int8_t trit) { return (trit > 0 ? 1 : 0) - (trit < 0 ? 1 : 0); }

// Calls visit(word, shift, row, first of its columns, whether there is a second) for every code.
template <class Visit>
void for_each_code(const MatrixShape& shape, const Visit& visit) {
  const std::size_t group_size = shape.group_words() * kTileRows;
  for (std::size_t row = 0; row < shape.rows; ++row) {
    std::size_t group = row / kTileRows * shape.groups() * group_size + row % kTileRows;
    for (std::size_t first = 0; first < shape.columns; first += shape.group_width, group += group_size) {
      const std::size_t width = std::min(shape.group_width, shape.columns - first);
      for (std::size_t c = 0; c < width; c += 2) {
        visit(group + c / kWordInputs * kTileRows, 2 * (c % kWordInputs), row, first + c, width - c > 1);
      }
    }
  }
}

// The sums that a code of two inputs may choose: of both signs, or of what is +1 alone.
void fill_table(float a, float b, bool differences, float* table) {
  for (std::size_t code = 0; code < kTableSums; ++code) {
    const Pair pair = kPairs[code];
    float sum = pair.first > 0 ? a : 0.0f;
    if (pair.second > 0) sum += b;
    if (differences && pair.first < 0) sum -= a;
    if (differences && pair.second < 0) sum -= b;
    table[code] = sum;
  }
}

// The tables of a vector of activations, group by group.
void fill_tables(const MatrixShape& shape, const float* x, bool differences, float* tables) {
  for (std::size_t first = 0; first < shape.columns; first += shape.group_width) {
    const std::size_t width = std::min(shape.group_width, shape.columns - first);
    for (std::size_t c = 0; c < shape.group_words() * kWordInputs; c += 2, tables += kTableSums) {
      const float a = c < width ? x[first + c] : 0.0f;
      const float b = c + 1 < width ? x[first + c + 1] : 0.0f;
      fill_table(a, b, differences, tables);
    }
  }
}

// At most kRowsAtOnce rows, from number `first` of whole tiles on, times vector number n, whose tables these
// are.
void multiply_rows(const Matrix& matrix, const float* tables, std::size_t first, std::size_t rows,
                   std::size_t n, const Activations& x, const LayerEpilogue& epilogue, void* out) {
  const MatrixShape& shape = matrix.shape;
  const Lookups lookups{matrix.codes + first * (shape.words() / shape.level_rows()),
                        shape.groups(),
                        shape.group_words(),
                        matrix.positives + first,
                        matrix.negatives == nullptr ? nullptr : matrix.negatives + first,
                        shape.level_rows()};
  float sums[kRowsAtOnce];
  runtime_kernels().look_up(tables, lookups, (rows + kTileRows - 1) / kTileRows, sums);
  for (std::size_t r = 0; r < rows; ++r) {
    finish_row(sums + r, 1, 1.0f, first + r, n * shape.rows + first + r, x.type, epilogue, out);
  }
}

}  // namespace

bool is_valid_matrix(const MatrixShape& shape) noexcept {
  constexpr std::size_t kMost = std::size_t{1} << 31;
  for (const std::size_t n : {shape.rows, shape.columns, shape.group_width}) {
    if (n == 0 || n >= kMost) return false;
  }
  return shape.group_width <= shape.columns &&
         static_cast<double>(shape.level_rows()) * static_cast<double>(shape.groups()) *
                 static_cast<double>(shape.group_words()) * kWordInputs <
             0x1p40;
}

void build_codes(const std::int8_t* trits, const MatrixShape& shape, std::uint32_t* codes) noexcept {
  std::fill_n(codes, shape.words(), std::uint32_t{0});
  for_each_code(shape,
                [&](std::size_t word, std::size_t shift, std::size_t row, std::size_t column, bool both) {
                  const std::int8_t* const pair = trits + row * shape.columns + column;
                  const int second = both ? sign_of(pair[1]) : 0;
                  codes[word] |= kCodes[3 * (sign_of(pair[0]) + 1) + second + 1] << shift;
                });
}

void read_codes(const std::uint32_t* codes, const MatrixShape& shape, std::int8_t* trits) noexcept {
  for_each_code(shape,
                [&](std::size_t word, std::size_t shift, std::size_t row, std::size_t column, bool both) {
                  const Pair pair = kPairs[codes[word] >> shift & 15u];
                  std::int8_t* const to = trits + row * shape.columns + column;
                  to[0] = pair.first;
                  if (both) to[1] = pair.second;
                });
}

void multiply(const Matrix& matrix, const Activations& x, std::size_t batch, const LayerEpilogue& epilogue,
              void* out, unsigned threads) {
  if (batch == 0) return;
  const MatrixShape& shape = matrix.shape;
  const std::size_t table_floats = shape.groups() * shape.group_words() * (kWordInputs / 2) * kTableSums;
  const std::size_t at_once = std::min(batch, kVectorsAtOnce);
  const AlignedFloats tables = aligned_floats(at_once * table_floats), wide = aligned_floats(shape.columns);
  const double work =
      static_cast<double>(shape.rows) * static_cast<double>(shape.columns) * static_cast<double>(at_once);
  const unsigned used = worthwhile_threads(work, kWeightsPerThread, threads);
  for (std::size_t vector = 0; vector < batch; vector += at_once) {
    const std::size_t count = std::min(at_once, batch - vector);
    for (std::size_t n = 0; n < count; ++n) {
      widen(x, (vector + n) * shape.columns, 1, shape.columns, wide.get());
      fill_tables(shape, wide.get(), matrix.negatives == nullptr, tables.get() + n * table_floats);
    }
    parallel_for(shape.rows, kTileRows, used, [&](std::size_t begin, std::size_t end, std::size_t) {
      for (std::size_t row = begin; row < end; row += kRowsAtOnce) {
        // The codes of these rows stay in the second cache.
        const std::size_t rows = std::min(kRowsAtOnce, end - row);
        for (std::size_t n = 0; n < count; ++n) {
          multiply_rows(matrix, tables.get() + n * table_floats, row, rows, vector + n, x, epilogue, out);
        }
      }
    });
  }
}

}  // namespace ternzip
