#include "core/runtime/matrix_vector.hpp"

#include <algorithm>
#include <memory>

#include "core/base/parallel.hpp"
#include "core/runtime/kernels.hpp"

namespace ternzip {
namespace {

static_assert(kPlaneRows == 8 && kPlaneWord == 32, "as the header says");

// Weights for which a second thread is worth its start.
constexpr std::size_t kWeightsPerThread = std::size_t{1} << 22;

// The first plane's word of a row and column; the second plane's is the next.
std::size_t word_at(std::size_t row, std::size_t column, std::size_t columns) {
  const std::size_t words = (columns + kPlaneWord - 1) / kPlaneWord;
  return ((row / kPlaneRows * words + column / kPlaneWord) * kPlaneRows + row % kPlaneRows) * 2;
}

void finish_row(const Matrix& matrix, const float* sums, std::size_t row, std::size_t at,
                const Activations& x, const LayerEpilogue& epilogue, void* out) {
  const RuntimeKernels& kernels = runtime_kernels();
  const float sum = sums[0] * matrix.positives[row] + sums[1] * matrix.negatives[row];
  const bool has_residual = epilogue.residual != nullptr;
  const Epilogue e{1.0f, epilogue.biases[row], has_residual ? epilogue.residual_scales[row] : 0.0f,
                   epilogue.lowest, epilogue.highest};
  if (x.type == ActivationType::kFloat32) {
    const auto* const residual = static_cast<const float*>(epilogue.residual);
    kernels.finish(&sum, 1, e, has_residual ? residual + at : nullptr, static_cast<float*>(out) + at);
  } else {
    const auto* const residual = static_cast<const std::uint16_t*>(epilogue.residual);
    kernels.finish_bfloat16(&sum, 1, e, has_residual ? residual + at : nullptr,
                            static_cast<std::uint16_t*>(out) + at);
  }
}

}  // namespace

void build_planes(const std::int8_t* trits, std::size_t rows, std::size_t columns,
                  std::uint32_t* planes) noexcept {
  std::fill_n(planes, words_of_planes(rows, columns), std::uint32_t{0});
  for (std::size_t r = 0; r < rows; ++r) {
    for (std::size_t c = 0; c < columns; ++c) {
      const std::int8_t trit = *trits++;
      std::uint32_t* const pair = planes + word_at(r, c, columns);
      pair[0] |= static_cast<std::uint32_t>(trit > 0) << (c % kPlaneWord);
      pair[1] |= static_cast<std::uint32_t>(trit < 0) << (c % kPlaneWord);
    }
  }
}

void read_planes(const std::uint32_t* planes, std::size_t rows, std::size_t columns,
                 std::int8_t* trits) noexcept {
  for (std::size_t r = 0; r < rows; ++r) {
    for (std::size_t c = 0; c < columns; ++c) {
      const std::uint32_t* const pair = planes + word_at(r, c, columns);
      const auto bit = [&](std::uint32_t word) { return static_cast<int>(word >> (c % kPlaneWord) & 1u); };
      *trits++ = static_cast<std::int8_t>(bit(pair[0]) - bit(pair[1]));
    }
  }
}

void multiply(const Matrix& matrix, const Activations& x, std::size_t batch, const LayerEpilogue& epilogue,
              void* out, unsigned threads) {
  const std::size_t words = (matrix.columns + kPlaneWord - 1) / kPlaneWord;
  const std::size_t padded = words * kPlaneWord;
  const auto wide = std::make_unique_for_overwrite<float[]>(std::max<std::size_t>(1, batch * padded));
  for (std::size_t n = 0; n < batch; ++n) {
    float* const row = wide.get() + n * padded;
    widen(x, n * matrix.columns, 1, matrix.columns, row);
    std::fill(row + matrix.columns, row + padded, 0.0f);
  }
  const double work =
      static_cast<double>(matrix.rows) * static_cast<double>(padded) * static_cast<double>(batch);
  const double worth = work / static_cast<double>(kWeightsPerThread);
  const unsigned used = worth >= threads ? threads : std::max(1u, static_cast<unsigned>(worth));
  const RuntimeKernels& kernels = runtime_kernels();
  parallel_for(matrix.rows, kPlaneRows, used, [&](std::size_t first, std::size_t last, std::size_t) {
    for (std::size_t row = first; row < last; row += kPlaneRows) {
      const std::uint32_t* const planes = matrix.planes + word_at(row, 0, matrix.columns);
      for (std::size_t n = 0; n < batch; ++n) {  // the planes of these rows stay in the first cache
        float sums[2 * kPlaneRows];
        kernels.sum_planes(wide.get() + n * padded, words, planes, sums);
        for (std::size_t r = 0; r < std::min(kPlaneRows, last - row); ++r) {
          finish_row(matrix, sums + 2 * r, row + r, n * matrix.rows + row + r, x, epilogue, out);
        }
      }
    }
  });
}

}  // namespace ternzip
