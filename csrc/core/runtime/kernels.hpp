// The inner loops of ternary layers on floating-point activations. One table per instruction set, filled by
// kernels.cpp.
//
// Every sum is made in an order that depends on the layer alone, never on the width of a vector: all
// tables compute the same bits. Pointers need no alignment.
#pragma once

#include <cstddef>
#include <cstdint>

namespace ternzip {

// Floats that accumulate() may read beyond the last pixel it was asked for.
inline constexpr std::size_t kPixelSlack = 16;

// Lanes of the sums of a bit plane: lane j holds the sum over inputs j, j + 16, j + 32, ...
inline constexpr std::size_t kPlaneLanes = 16;

// Inputs that a word of a bit plane stands for.
inline constexpr std::size_t kPlaneWord = 32;

// Rows whose planes lie together, so that they are read as one stream, a cache line a word.
inline constexpr std::size_t kPlaneRows = 8;

// Two lists of codes for each row, the weights that are +1 and those that are -1: starts[2 r] is where
// row r's first list begins, starts[2 r + 1] its second, and starts[2 rows] the end of all.
struct RowLists {
  const std::uint16_t* codes;
  const std::uint32_t* starts;
  const float* ratios;  // positive level / -negative level
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

struct RuntimeKernels {
  // The most pixels one call of accumulate() takes: they stay in registers while a row is summed up.
  std::size_t block;

  // For each row r: acc[r block + p] = (first ? 0 : acc[r block + p]) + ratio * sum of base[offsets[plus] +
  // p] - sum of base[offsets[minus] + p], for `pixels` pixels, rounded up to the width of a vector.
  void (*accumulate)(const float* base, const std::int32_t* offsets, const RowLists& lists,
                     std::size_t pixels, bool first, float* acc);

  // n sums through an epilogue. `residual` may be null; it and `out` have the same type, bfloat16 in the
  // second.
  void (*finish)(const float* sums, std::size_t n, const Epilogue& epilogue, const float* residual,
                 float* out);
  void (*finish_bfloat16)(const float* sums, std::size_t n, const Epilogue& epilogue,
                          const std::uint16_t* residual, std::uint16_t* out);

  // For the kPlaneRows rows r of a group: sums[2 r] of x where the row's plane of +1 has a bit, sums[2 r + 1]
  // where its plane of -1 has one. planes[words][kPlaneRows][2] holds a word of (plus, minus), bit i for
  // input i of its 32; x has 32 * words elements.
  void (*sum_planes)(const float* x, std::size_t words, const std::uint32_t* planes, float* sums);
};

extern const RuntimeKernels kRuntimeBaseline;
#if defined(TERNZIP_X86)
extern const RuntimeKernels kRuntimeAvx2;
extern const RuntimeKernels kRuntimeAvx512;
#endif

// The table of the active instruction set.
const RuntimeKernels& runtime_kernels() noexcept;

}  // namespace ternzip
