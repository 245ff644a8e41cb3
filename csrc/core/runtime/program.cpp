#include "core/runtime/program.hpp"

#include <algorithm>
#include <stdexcept>
#include <string>
#include <utility>

#include "core/base/parallel.hpp"
#include "core/runtime/aligned_floats.hpp"

namespace ternzip {
namespace {

constexpr std::size_t kMostFloats = std::size_t{1} << 31;

// Floats of the values of as many samples as are computed at a time: what the second cache holds beside
// weights and the copies of a convolution.
constexpr std::size_t kArenaFloats = std::size_t{1} << 16;

// More samples share nothing.
constexpr std::size_t kMostSamples = 16;

// Whether the product of sizes is positive and within bounds; the product itself may overflow.
bool is_valid(const ValueShape& shape) {
  double size = 1;
  for (const std::size_t n : {shape.channels, shape.height, shape.width}) {
    if (n == 0 || n >= kMostFloats) return false;
    size *= static_cast<double>(n);
  }
  return size < static_cast<double>(kMostFloats);
}

// Whether a slice reads only what is there, and something.
bool is_valid(const SliceAxis& axis, std::size_t size) {
  return axis.count > 0 && axis.step > 0 && axis.first < size &&
         (axis.count - 1) <= (size - 1 - axis.first) / axis.step;
}

// How many outputs a window has; 0 if it is none.
std::size_t outputs_of(const PoolAxis& axis, std::size_t size) {
  if (axis.extent == 0 || axis.stride == 0 || axis.padding >= axis.extent) return 0;
  if (axis.extent > kMostFloats || size + 2 * axis.padding < axis.extent) return 0;
  return (size + 2 * axis.padding - axis.extent) / axis.stride + 1;
}

}  // namespace

Program::Program(const ValueShape& input) {
  check(is_valid(input), "the input's shape is not valid");
  values_.push_back({input, 0, 0, 0});
}

void Program::check(bool fits, const char* what) const {
  if (!fits) throw std::invalid_argument("program, step " + std::to_string(steps_.size()) + ": " + what);
}

const ValueShape& Program::shape(std::size_t value) const {
  check(value < values_.size(), "reads a value that does not exist");
  return values_[value].shape;
}

std::size_t Program::add_step(std::size_t x, std::size_t y, const ValueShape& shape, Run run) {
  check(result_ == kNone, "nothing can be added to a finished program");
  check(is_valid(shape), "the result's shape is not valid");
  const std::size_t result = values_.size();
  for (const std::size_t input : {x, y}) {
    if (input != kNone) values_[values_[input].memory].last_step = steps_.size();
  }
  steps_.reserve(steps_.size() + 1);  // so that nothing is added if memory ends
  values_.push_back({shape, result, steps_.size(), 0});
  steps_.push_back({x, y, result, std::move(run)});
  return result;
}

std::size_t Program::convolve(std::size_t x, std::size_t residual, const Convolution& convolution,
                              const LayerEpilogue& epilogue) {
  const ValueShape from = shape(x);
  Convolution conv = convolution;
  conv.batch = 1;
  check(is_valid_convolution(conv), "the convolution is not valid");
  check(conv.index.groups * conv.index.channels == from.channels && conv.rows.input == from.height &&
            conv.columns.input == from.width,
        "the convolution does not fit its input");
  const ValueShape to{conv.index.rows, conv.rows.output, conv.columns.output};
  check(residual == kNone || shape(residual) == to, "the residual does not fit the convolution");
  check(residual == kNone || epilogue.residual_scales != nullptr, "the residual has no scales");
  const std::size_t result =
      add_step(x, residual, to,
               [conv, epilogue](const float* in, const float* other, float* out, std::size_t samples,
                                unsigned threads) {
                 Convolution many = conv;
                 LayerEpilogue after = epilogue;
                 many.batch = samples;
                 after.residual = other;
                 ternzip::convolve(many, {in, ActivationType::kFloat32}, after, out, threads);
               });
  additions_ += additions_of_sample(conv);
  return result;
}

std::size_t Program::multiply(std::size_t x, std::size_t residual, const Matrix& matrix,
                              const LayerEpilogue& epilogue) {
  check(is_valid_matrix(matrix.shape), "the matrix is not valid");
  check(matrix.shape.columns == shape(x).size(), "the matrix does not fit its input");
  const ValueShape to{matrix.shape.rows, 1, 1};
  check(residual == kNone || shape(residual) == to, "the residual does not fit the matrix");
  check(residual == kNone || epilogue.residual_scales != nullptr, "the residual has no scales");
  const std::size_t result =
      add_step(x, residual, to,
               [matrix, epilogue](const float* in, const float* other, float* out, std::size_t samples,
                                  unsigned threads) {
                 LayerEpilogue after = epilogue;
                 after.residual = other;
                 ternzip::multiply(matrix, {in, ActivationType::kFloat32}, samples, after, out, threads);
               });
  additions_ += static_cast<double>(matrix.shape.rows) * static_cast<double>(matrix.shape.columns) / 2;
  return result;
}

std::size_t Program::add(std::size_t x, std::size_t y, const Bounds& bounds) {
  const ValueShape to = shape(x);
  check(to == shape(y), "adds values of different shapes");
  return add_step(x, y, to,
                  [n = to.size(), bounds](const float* a, const float* b, float* out, std::size_t samples,
                                          unsigned) { add_clamped(a, b, n * samples, bounds, out); });
}

std::size_t Program::clamp(std::size_t x, const Bounds& bounds) {
  const ValueShape to = shape(x);
  return add_step(x, kNone, to,
                  [n = to.size(), bounds](const float* a, const float*, float* out, std::size_t samples,
                                          unsigned) { clamp_all(a, n * samples, bounds, out); });
}

std::size_t Program::normalize(std::size_t x, const Normalization& norm) {
  const ValueShape to = shape(x);
  return add_step(x, kNone, to,
                  [to, norm](const float* a, const float*, float* out, std::size_t samples, unsigned) {
                    normalize_channels(a, to, samples, norm, out);
                  });
}

std::size_t Program::pool(std::size_t x, const PoolAxis& rows, const PoolAxis& columns, bool average) {
  const ValueShape from = shape(x);
  const ValueShape to{from.channels, outputs_of(rows, from.height), outputs_of(columns, from.width)};
  check(to.height != 0 && to.width != 0, "the window does not fit its input");
  return add_step(x, kNone, to,
                  [from, to, rows, columns, average](const float* a, const float*, float* out,
                                                     std::size_t samples, unsigned) {
                    const auto pool = average ? average_windows : largest_of_windows;
                    pool(a, from, to, samples, rows, columns, out);
                  });
}

std::size_t Program::average(std::size_t x, const PoolAxis& rows, const PoolAxis& columns) {
  check(rows.padding == 0 && columns.padding == 0, "an average has no padding");
  return pool(x, rows, columns, true);
}

std::size_t Program::largest(std::size_t x, const PoolAxis& rows, const PoolAxis& columns) {
  return pool(x, rows, columns, false);
}

std::size_t Program::slice(std::size_t x, const SliceAxis& rows, const SliceAxis& columns, std::size_t before,
                           std::size_t behind) {
  const ValueShape from = shape(x);
  check(is_valid(rows, from.height) && is_valid(columns, from.width), "the slice does not fit its input");
  check(before < kMostFloats && behind < kMostFloats, "the slice has too many channels");
  const ValueShape to{before + from.channels + behind, rows.count, columns.count};
  return add_step(x, kNone, to,
                  [from, to, rows, columns, before](const float* a, const float*, float* out,
                                                    std::size_t samples, unsigned) {
                    slice_channels(a, from, to, samples, rows, columns, before, out);
                  });
}

std::size_t Program::flatten(std::size_t x) {
  check(result_ == kNone, "nothing can be added to a finished program");
  const std::size_t size = shape(x).size();
  values_.push_back({{size, 1, 1}, values_[x].memory, 0, 0});
  return values_.size() - 1;
}

void Program::finish(std::size_t value) {
  check(result_ == kNone, "the program is finished already");
  check(value < values_.size(), "names a value that does not exist");
  const std::size_t memory = values_[value].memory;
  check(memory != 0, "the result is the input");
  place_values(memory);
  result_ = value;
}

// Values in the order they are made, each in the first gap between those that are still to be read; the
// result has the caller's memory.
void Program::place_values(std::size_t result) {
  std::vector<std::size_t> alive;
  for (std::size_t i = 0; i < steps_.size(); ++i) {
    Value& made = values_[steps_[i].result];
    if (steps_[i].result == result) continue;
    std::erase_if(alive, [&](std::size_t v) { return values_[v].last_step < i; });
    const std::size_t size = whole_lines(made.shape.size());
    made.offset = 0;
    for (const std::size_t v : alive) {  // ascending offsets
      if (made.offset + size <= values_[v].offset) break;
      made.offset = values_[v].offset + whole_lines(values_[v].shape.size());
    }
    const auto behind = [&](std::size_t v) { return values_[v].offset > made.offset; };
    alive.insert(std::find_if(alive.begin(), alive.end(), behind), steps_[i].result);
    arena_floats_ = std::max(arena_floats_, made.offset + size);
  }
}

void Program::run_samples(const float* x, std::size_t samples, float* arena, float* out,
                          unsigned threads) const {
  const auto memory_of = [&](std::size_t value) -> float* {
    const std::size_t memory = values_[value].memory;
    return memory == values_[result_].memory ? out : arena + values_[memory].offset * samples;
  };
  const auto input_of = [&](std::size_t value) -> const float* {
    if (value == kNone) return nullptr;
    return values_[value].memory == 0 ? x : memory_of(value);
  };
  for (const Step& step : steps_) {
    step.run(input_of(step.x), input_of(step.y), memory_of(step.result), samples, threads);
  }
}

void Program::run(const float* x, std::size_t batch, float* out, unsigned threads) const {
  if (result_ == kNone) throw std::logic_error("program: run before it is finished");
  if (batch == 0) return;
  threads = worthwhile_threads(additions_ * static_cast<double>(batch), kAdditionsPerThread, threads);
  const std::size_t room = std::max<std::size_t>(1, kArenaFloats / std::max<std::size_t>(1, arena_floats_));
  const std::size_t at_once = std::min({room, kMostSamples, (batch + threads - 1) / threads});
  const std::size_t parts = (batch + at_once - 1) / at_once;
  // Where there are not enough parts for all threads, these share each step.
  const unsigned outer = parts < threads ? 1 : threads, inner = outer > 1 ? 1 : threads;
  const std::size_t input = values_[0].shape.size(), result = values_[result_].shape.size();
  parallel_for(parts, 1, outer, [&](std::size_t first, std::size_t last, std::size_t) {
    const AlignedFloats arena = aligned_floats(arena_floats_ * at_once);
    for (std::size_t part = first; part < last; ++part) {
      const std::size_t sample = part * at_once;
      run_samples(x + sample * input, std::min(at_once, batch - sample), arena.get(), out + sample * result,
                  inner);
    }
  });
}

}  // namespace ternzip
