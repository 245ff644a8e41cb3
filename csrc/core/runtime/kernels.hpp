// The inner loops of layers on floating-point activations. One table per instruction set, filled by
// kernels.cpp.
//
// Every sum is made in an order that depends on the layer alone, never on the width of a vector: all
// tables compute the same bits. Pointers need no alignment.
#pragma once

#include <cstddef>
#include <cstdint>

namespace ternzip {

// Floats that accumulate() and accumulate_products() may read beyond the last pixel it was asked for.
inline constexpr std::size_t kPixelSlack = 16;

// Rows whose codes lie together: a lane each, whatever the width of a vector.
inline constexpr std::size_t kTileRows = 16;

// Inputs that a word of codes stands for, two a code of four bits.
inline constexpr std::size_t kWordInputs = 16;

// Sums that a code chooses from.
inline constexpr std::size_t kTableSums = 16;

// Two lists of codes for each row, the weights that are +1 and those that are -1: starts[2 r] is where
// row r's first list begins, starts[2 r + 1] its second, and starts[2 rows] the end of all.
struct RowLists {
  const std::uint16_t* codes;
  const std::uint32_t* starts;
  const float* ratios;  // positive level / -negative level
  std::size_t rows;
};

// The weights of rows, one after the other: row r's n-th stands at weights[r stride + n].
struct RowWeights {
  const float* weights;
  std::size_t stride;
  std::size_t count;  // of a row's weights
  std::size_t rows;
};

// What happens to the sum t of one output row on its way out:
//   y = min(max(scale t + bias + residual_scale residual, lowest), highest); a NaN stays one.
struct Epilogue {
  float scale;
  float bias;
  float residual_scale;
  float lowest;
  float highest;
};

// Codes and levels of tiles of kTileRows rows. Inputs are in `groups` groups of `words` words each, with
// levels for each group and row.
struct Lookups {
  const std::uint32_t* codes;  // [tiles][groups][words][kTileRows]
  std::size_t groups;
  std::size_t words;
  const float* positives;  // [groups][level_rows], from the first tile's first row on
  const float* negatives;  // the same; null where tables hold differences already
  std::size_t level_rows;
};

struct RuntimeKernels {
  // The most pixels one call of accumulate() or accumulate_products() takes: they stay in registers while a
  // row is summed up.
  std::size_t block;

  // For each row r: acc[r block + p] = (first ? 0 : acc[r block + p]) + ratio * sum of base[offsets[plus] +
  // p] - sum of base[offsets[minus] + p], for `pixels` pixels, rounded up to the width of a vector.
  void (*accumulate)(const float* base, const std::int32_t* offsets, const RowLists& lists,
                     std::size_t pixels, bool first, float* acc);

  // The same for dense weights: acc[r block + p] = (first ? 0 : acc[r block + p]) + sum of weight n times
  // base[offsets[n] + p]. Products are rounded before they are added.
  void (*accumulate_products)(const float* base, const std::int32_t* offsets, const RowWeights& weights,
                              std::size_t pixels, bool first, float* acc);

  // n sums through an epilogue. `residual` may be null; it and `out` have the same type, bfloat16 in the
  // second.
  void (*finish)(const float* sums, std::size_t n, const Epilogue& epilogue, const float* residual,
                 float* out);
  void (*finish_bfloat16)(const float* sums, std::size_t n, const Epilogue& epilogue,
                          const std::uint16_t* residual, std::uint16_t* out);

  // For each row of `tiles` tiles, and over its groups: sums[row] = positive * (the sum of what its codes
  // choose) + negative * (the sum of what they choose with their highest bit turned). tables[groups * words *
  // 8][kTableSums]; code i of a word, bits 4 i to 4 i + 3, chooses from the word's table i.
  void (*look_up)(const float* tables, const Lookups& lookups, std::size_t tiles, float* sums);
};

extern const RuntimeKernels kRuntimeBaseline;
#if defined(TERNZIP_X86)
extern const RuntimeKernels kRuntimeAvx2;
extern const RuntimeKernels kRuntimeAvx512;
#endif

// The table of the active instruction set.
const RuntimeKernels& runtime_kernels() noexcept;

}  // namespace ternzip
