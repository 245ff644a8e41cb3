// Programs of any steps: what does not fit is refused and adds nothing; what was added computes what its
// steps do one by one, alike on every instruction set, for any batch and number of threads.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <deque>
#include <limits>
#include <stdexcept>

#include "core/runtime/program.hpp"
#include "core/simd/isa.hpp"
#include "fuzz/input.hpp"

namespace ternzip::fuzz {
namespace {

using Floats = std::vector<float>;

constexpr std::size_t kMostFloats = 4096;  // of a value: results stay small

// Small whole numbers: every sum is exact.
Floats numbers(Input& input, std::size_t n) {
  std::uint32_t state = input.byte();
  Floats made(n);
  for (float& number : made) {
    state = state * 1664525 + 1013904223;
    number = static_cast<float>(state >> 24 & 7u) - 3.0f;
  }
  return made;
}

// A program, what its steps read, and its values as the steps make them one by one.
class Builder {
 public:
  Builder(Input& input, std::size_t batch) : input_(input), batch_(batch), shapes_{small_shape()} {
    program_ = Program(shapes_[0]);
    values_.push_back(numbers(input, batch * shapes_[0].size()));
  }

  void add() {
    const std::size_t before = shapes_.size();
    bool added = true;
    try {
      step();
    } catch (const std::invalid_argument&) {
      added = false;
    }
    require(shapes_.size() == before + (added ? 1 : 0), "a step makes one value, a refused one none");
    bool exists = true;
    try {
      program_.shape(before);
    } catch (const std::invalid_argument&) {
      exists = false;
    }
    require(exists == added, "what is refused adds nothing");
  }

  void check() {
    const std::size_t result = input_.byte() % shapes_.size();
    Floats out(batch_ * shapes_[result].size());
    try {
      program_.run(values_[0].data(), batch_, out.data(), 1);
      require(false, "an unfinished program does not run");
    } catch (const std::logic_error&) {  // as it should
    }
    try {
      program_.finish(result);
    } catch (const std::invalid_argument&) {
      return;  // the input itself
    }
    for (const std::string& isa : available_isas()) {
      set_isa(isa);
      for (const unsigned threads : {1u, 3u}) {
        std::fill(out.begin(), out.end(), -1.0f);
        program_.run(values_[0].data(), batch_, out.data(), threads);
        require(
            out.empty() || std::memcmp(out.data(), values_[result].data(), out.size() * sizeof(float)) == 0,
            "a program computes what its steps do");
      }
    }
  }

 private:
  // Mostly small, sometimes of any size.
  std::size_t number(std::size_t most) {
    const unsigned drawn = input_.byte();
    return drawn >= 240 ? static_cast<std::size_t>(input_.count()) : drawn % (most + 1);
  }
  ValueShape small_shape() {
    return {1u + input_.byte() % 6, 1u + input_.byte() % 9, 1u + input_.byte() % 9};
  }
  Bounds bounds() {
    const float lowest = input_.byte() % 2 == 0 ? -std::numeric_limits<float>::infinity() : -1.0f;
    return {lowest, input_.byte() % 2 == 0 ? std::numeric_limits<float>::infinity() : 3.0f};
  }
  const float* owned(Floats floats) { return owned_.emplace_back(std::move(floats)).data(); }
  const Floats& made(std::size_t value) const { return values_[std::min(value, values_.size() - 1)]; }

  // Takes in what a step has added, computed by `compute(out)`.
  template <class Compute>
  void keep(std::size_t value, const Compute& compute) {
    require(value == shapes_.size(), "values are numbered in order");
    shapes_.push_back(program_.shape(value));
    Floats out(batch_ * shapes_.back().size());
    compute(out.data());
    values_.push_back(std::move(out));
  }

  void step() {
    const unsigned kind = input_.byte() % 9;
    const std::size_t x = number(shapes_.size() - 1);
    if (x < shapes_.size() && shapes_[x].size() > kMostFloats) throw std::invalid_argument("large");
    switch (kind) {
      case 0: return convolve_step(x);
      case 1: return multiply_step(x);
      case 2: return add_step(x);
      case 3: return clamp_step(x);
      case 4: return normalize_step(x);
      case 5: return pool_step(x, true);
      case 6: return pool_step(x, false);
      case 7: return slice_step(x);
      default:
        return keep(program_.flatten(x),
                    [&](float* out) { std::copy_n(made(x).data(), made(x).size(), out); });
    }
  }

  std::size_t optional_value() {
    return input_.byte() % 2 == 0 ? Program::kNone : number(shapes_.size() - 1);
  }
  Axis axis(std::size_t taps, std::size_t size) {
    Axis made{input_.byte() % 8 == 0 ? number(9) : size, number(9), taps, number(3), number(2), number(3)};
    if (input_.byte() % 4 != 0) made = {size, size, taps, 1, 1, taps / 2};  // one that fits
    return made;
  }

  void convolve_step(std::size_t x) {
    const ValueShape from = shapes_[std::min(x, shapes_.size() - 1)];
    const std::size_t residual = optional_value();
    const std::size_t rows = 1u + input_.byte() % 9, down = 1u + input_.byte() % 3,
                      across = 1u + input_.byte() % 3;
    const IndexShape index{rows, 1, input_.byte() % 8 == 0 ? number(6) : from.channels, down * across,
                           1u + input_.byte() % 4};
    Convolution conv{
        1,      axis(down, from.height), axis(across, from.width), index, nullptr, nullptr, nullptr, nullptr,
        nullptr};
    conv.scales = owned(numbers(input_, rows));
    conv.weights = owned(numbers(input_, rows * std::min<std::size_t>(index.channels, 4096) * index.taps));
    if (conv.rows.output > 64 || conv.columns.output > 64) throw std::invalid_argument("large");
    LayerEpilogue epilogue{owned(numbers(input_, rows)), nullptr, owned(numbers(input_, rows)), -9.0f, 99.0f};
    const std::size_t value = program_.convolve(x, residual, conv, epilogue);
    conv.batch = batch_;
    epilogue.residual = residual == Program::kNone ? nullptr : made(residual).data();
    keep(value,
         [&](float* out) { convolve(conv, {made(x).data(), ActivationType::kFloat32}, epilogue, out, 1); });
  }

  void multiply_step(std::size_t x) {
    const ValueShape from = shapes_[std::min(x, shapes_.size() - 1)];
    const std::size_t residual = optional_value(), rows = 1u + input_.byte() % 20;
    const std::size_t columns = input_.byte() % 8 == 0 ? number(9) : from.size();
    const MatrixShape shape{rows, columns, input_.byte() % 8 == 0 ? number(9) : columns};
    if (!is_valid_matrix(shape) || shape.words() > (1u << 20)) throw std::invalid_argument("not valid");
    std::vector<std::uint32_t>& codes = codes_.emplace_back(shape.words());
    for (std::uint32_t& code : codes) code = 0x00C04210u * (1u + input_.byte() % 3);
    const std::size_t levels = shape.groups() * shape.level_rows();
    const Matrix matrix{shape, codes.data(), owned(numbers(input_, levels)),
                        input_.byte() % 2 == 0 ? nullptr : owned(numbers(input_, levels))};
    LayerEpilogue epilogue{owned(numbers(input_, rows)), nullptr, owned(numbers(input_, rows)), -99.0f, 9.0f};
    const std::size_t value = program_.multiply(x, residual, matrix, epilogue);
    epilogue.residual = residual == Program::kNone ? nullptr : made(residual).data();
    keep(value, [&](float* out) {
      multiply(matrix, {made(x).data(), ActivationType::kFloat32}, batch_, epilogue, out, 1);
    });
  }

  static float within(float y, const Bounds& bounds) {
    return std::min(std::max(y, bounds.lowest), bounds.highest);
  }

  void add_step(std::size_t x) {
    const std::size_t y = number(shapes_.size() - 1);
    const Bounds limits = bounds();
    keep(program_.add(x, y, limits), [&](float* out) {
      for (std::size_t i = 0; i < made(x).size(); ++i) out[i] = within(made(x)[i] + made(y)[i], limits);
    });
  }

  void clamp_step(std::size_t x) {
    const Bounds limits = bounds();
    keep(program_.clamp(x, limits), [&](float* out) {
      for (std::size_t i = 0; i < made(x).size(); ++i) out[i] = within(made(x)[i], limits);
    });
  }

  void normalize_step(std::size_t x) {
    const ValueShape shape = shapes_[std::min(x, shapes_.size() - 1)];
    Floats variances = numbers(input_, shape.channels);
    for (float& variance : variances) variance = variance * variance + 1;
    const Normalization norm{owned(numbers(input_, shape.channels)), owned(std::move(variances)),
                             input_.byte() % 2 == 0 ? nullptr : owned(numbers(input_, shape.channels)),
                             input_.byte() % 2 == 0 ? nullptr : owned(numbers(input_, shape.channels)), 0.5};
    keep(program_.normalize(x, norm), [&](float* out) {
      for (std::size_t i = 0; i < made(x).size(); ++i) {
        const std::size_t c = i / (shape.height * shape.width) % shape.channels;
        const float inverse = 1.0f / std::sqrt(norm.variances[c] + 0.5f);
        const float factor = norm.weights == nullptr ? inverse : norm.weights[c] * inverse;
        const float shift = (norm.biases == nullptr ? 0.0f : norm.biases[c]) - norm.means[c] * factor;
        out[i] = made(x)[i] * factor + shift;
      }
    });
  }

  void pool_step(std::size_t x, bool average) {
    const PoolAxis rows{number(5), number(3), average ? number(0) : number(2)};
    const PoolAxis columns{number(5), number(3), average ? number(0) : number(2)};
    const std::size_t value =
        average ? program_.average(x, rows, columns) : program_.largest(x, rows, columns);
    const ValueShape from = shapes_[x];
    const ValueShape to = program_.shape(value);
    keep(value, [&](float* out) {
      for (std::size_t i = 0; i < batch_ * to.size(); ++i) {
        const std::size_t plane = i / (to.height * to.width), r = i / to.width % to.height, c = i % to.width;
        float sum = 0, most = -std::numeric_limits<float>::infinity();
        for (std::size_t y = 0; y < rows.extent; ++y) {
          for (std::size_t z = 0; z < columns.extent; ++z) {
            const std::size_t row = r * rows.stride + y - rows.padding;  // below 0: very large
            const std::size_t column = c * columns.stride + z - columns.padding;
            if (row >= from.height || column >= from.width) continue;
            const float element = made(x)[(plane * from.height + row) * from.width + column];
            sum += element;
            most = std::max(most, element);
          }
        }
        out[i] = average ? sum / static_cast<float>(rows.extent * columns.extent) : most;
      }
    });
  }

  void slice_step(std::size_t x) {
    const SliceAxis rows{number(3), number(3), number(5)}, columns{number(3), number(3), number(5)};
    const std::size_t before = number(3), behind = number(3);
    if (before > 64 || behind > 64) throw std::invalid_argument("large");
    const std::size_t value = program_.slice(x, rows, columns, before, behind);
    const ValueShape from = shapes_[x];
    const ValueShape to = program_.shape(value);
    keep(value, [&](float* out) {
      for (std::size_t i = 0; i < batch_ * to.size(); ++i) {
        const std::size_t sample = i / to.size(), channel = i / (to.height * to.width) % to.channels - before;
        const std::size_t row = rows.first + i / to.width % to.height * rows.step;
        const std::size_t column = columns.first + i % to.width * columns.step;
        out[i] =
            channel >= from.channels
                ? 0.0f
                : made(x)[((sample * from.channels + channel) * from.height + row) * from.width + column];
      }
    });
  }

  Input& input_;
  std::size_t batch_;
  std::vector<ValueShape> shapes_;
  Program program_{{1, 1, 1}};
  std::vector<Floats> values_;
  std::deque<Floats> owned_;
  std::deque<std::vector<std::uint32_t>> codes_;
};

void check(Input& input) {
  const std::size_t batch = input.byte() % 20, steps = input.byte() % 12;
  Builder builder(input, batch);
  for (std::size_t i = 0; i < steps; ++i) builder.add();
  builder.check();
}

}  // namespace
}  // namespace ternzip::fuzz

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  ternzip::fuzz::Input input(data, size);
  ternzip::fuzz::check(input);
  return 0;
}
