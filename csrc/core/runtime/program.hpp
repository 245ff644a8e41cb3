// A whole network as one call: steps on numbered values, one after the other, in memory of its own.
#pragma once

#include <cstddef>
#include <functional>
#include <vector>

#include "core/runtime/convolution.hpp"
#include "core/runtime/elementwise.hpp"
#include "core/runtime/matrix_vector.hpp"

namespace ternzip {

// Steps are added, each returning the number of the value it makes; then finish() names the result, and run()
// may be called by any number of threads at once. Value 0 is the input. The memory of weights belongs to the
// caller and is read by run().
//
// What cannot be computed throws std::invalid_argument, which names the step, and adds nothing: values that
// do not exist, shapes that do not fit, and sizes of 2^31 floats or more.
class Program {
 public:
  static constexpr std::size_t kNone = ~std::size_t{0};  // a value that is not there

  explicit Program(const ValueShape& input);

  // A valid convolution, with a valid index; its batch and the residual of the epilogue are not looked at:
  // `residual` is a value of the result's shape, or kNone.
  std::size_t convolve(std::size_t x, std::size_t residual, const Convolution& convolution,
                       const LayerEpilogue& epilogue);
  // A matrix, with valid shape, times all elements of a value: (rows, 1, 1).
  std::size_t multiply(std::size_t x, std::size_t residual, const Matrix& matrix,
                       const LayerEpilogue& epilogue);
  // min(max(x + y, lowest), highest) of values of one shape.
  std::size_t add(std::size_t x, std::size_t y, const Bounds& bounds);
  // min(max(x, lowest), highest).
  std::size_t clamp(std::size_t x, const Bounds& bounds);
  // x a + (bias - mean a), a = weight / sqrt(variance + epsilon), as torch computes it.
  std::size_t normalize(std::size_t x, const Normalization& norm);
  // The mean of each window (from the first to the last, divided once; no padding), or the largest element, a
  // NaN if there is one. Padding is less than the extent.
  std::size_t average(std::size_t x, const PoolAxis& rows, const PoolAxis& columns);
  std::size_t largest(std::size_t x, const PoolAxis& rows, const PoolAxis& columns);
  // Rows and columns of x, with channels of zeros before and behind those that it has.
  std::size_t slice(std::size_t x, const SliceAxis& rows, const SliceAxis& columns, std::size_t before,
                    std::size_t behind);
  // All elements as channels: (size, 1, 1), without a copy.
  std::size_t flatten(std::size_t x);

  // The shape of a value; throws std::invalid_argument if there is none.
  const ValueShape& shape(std::size_t value) const;

  // Makes a value the result; nothing can be added any more.
  void finish(std::size_t value);

  // out (batch, result) of x (batch, input). Samples are computed a few at a time, so that what passes
  // between steps stays in the caches; every one the same way, so that results are the same bits for any
  // batch, number of threads and instruction set. Throws std::logic_error before finish(), std::bad_alloc.
  void run(const float* x, std::size_t batch, float* out, unsigned threads) const;

 private:
  // Makes `out` of the step's inputs, for some samples.
  using Run =
      std::function<void(const float* x, const float* y, float* out, std::size_t samples, unsigned threads)>;
  struct Step {
    std::size_t x;
    std::size_t y;  // or kNone
    std::size_t result;
    Run run;
  };
  struct Value {
    ValueShape shape;
    std::size_t memory;     // the value whose memory it has: itself, or one that it is a view of
    std::size_t last_step;  // that reads its memory
    std::size_t offset;     // of its memory in the arena, in floats of a sample
  };

  void check(bool fits, const char* what) const;
  std::size_t add_step(std::size_t x, std::size_t y, const ValueShape& shape, Run run);
  std::size_t pool(std::size_t x, const PoolAxis& rows, const PoolAxis& columns, bool average);
  void place_values(std::size_t result);
  void run_samples(const float* x, std::size_t samples, float* arena, float* out, unsigned threads) const;

  std::vector<Value> values_;
  std::vector<Step> steps_;
  std::size_t result_ = kNone;
  std::size_t arena_floats_ = 0;  // of a sample
  double additions_ = 0;          // of a sample
};

}  // namespace ternzip
