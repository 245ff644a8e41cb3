// Layers that run from index lists, tables, bit planes or dense weights: what they compute is what their
// definition says, alike on every instruction set, for any shape, activations of any bits, and lists and
// planes that nobody has built.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "core/runtime/bitwise.hpp"
#include "core/runtime/bitwise_kernels.hpp"
#include "core/runtime/convolution.hpp"
#include "core/runtime/matrix_vector.hpp"
#include "core/simd/isa.hpp"
#include "fuzz/input.hpp"

namespace ternzip::fuzz {
namespace {

using Bytes = std::vector<std::uint8_t>;

// Small whole numbers, of which every sum is exact in whatever order, or floats of any bits.
class Numbers {
 public:
  Numbers(Input& input, bool whole)
      : whole_(whole), state_(static_cast<std::uint32_t>(input.below(1u << 16))) {}

  bool whole() const noexcept { return whole_; }
  std::uint32_t bits() noexcept {  // 16 of them
    state_ = state_ * 1664525 + 1013904223;
    return state_ >> 16;
  }
  float next() noexcept {
    const std::uint32_t high = bits();
    if (whole_) return static_cast<float>(high % 17) - 8.0f;
    const std::uint32_t pattern = high << 16 | bits();
    float number = 0;
    std::memcpy(&number, &pattern, sizeof number);
    return number;
  }
  std::vector<float> array(std::size_t n) {
    std::vector<float> numbers(n);
    for (float& number : numbers) number = next();
    return numbers;
  }
  Bytes activations(std::size_t n, ActivationType type) {
    const std::size_t width = width_of(type);
    Bytes bytes(n * width);
    for (std::size_t i = 0; i < n; ++i) {
      const float number = next();
      std::uint32_t pattern = 0;
      std::memcpy(&pattern, &number, sizeof pattern);
      if (width == 2) pattern >>= 16;
      std::memcpy(bytes.data() + i * width, &pattern, width);
    }
    return bytes;
  }
  std::vector<std::int8_t> trits(std::size_t n, unsigned zeros) {
    std::vector<std::int8_t> trits(n);
    for (std::int8_t& trit : trits) {
      const std::uint32_t drawn = bits();
      trit = static_cast<std::int8_t>((drawn & 0xFF) < zeros ? 0 : drawn >> 15 != 0 ? 1 : -1);
    }
    return trits;
  }

 private:
  bool whole_;
  std::uint32_t state_;
};

float load(const Bytes& bytes, ActivationType type, std::size_t i) {
  float number = 0;
  widen({bytes.data(), type}, i, 1, 1, &number);
  return number;
}

// What follows the sums of a layer.
struct Ending {
  ActivationType type;
  std::vector<float> biases, residual_scales;
  Bytes residual;
  bool has_residual;
  float lowest, highest;

  Ending(Input& input, Numbers& numbers, ActivationType of, std::size_t channels, std::size_t outputs)
      : type(of), biases(numbers.array(channels)), residual_scales(numbers.array(channels)) {
    const unsigned choice = input.byte();
    has_residual = choice % 2 != 0 && outputs != 0;
    if (has_residual) residual = numbers.activations(outputs, type);
    lowest = choice % 4 < 2 ? -std::numeric_limits<float>::infinity() : -4.0f;
    highest = choice % 8 < 4 ? std::numeric_limits<float>::infinity() : 20.0f;
  }
  LayerEpilogue pointers() const {
    return {biases.data(), has_residual ? residual.data() : nullptr,
            has_residual ? residual_scales.data() : nullptr, lowest, highest};
  }
  // Of an exact sum: what the output must be, or the bfloat16 next to it.
  void check(double sum, std::size_t channel, const Bytes& out, std::size_t at) const {
    double expected = sum + double{biases[channel]};
    if (has_residual) expected += double{residual_scales[channel]} * double{load(residual, type, at)};
    expected = std::min(std::max(expected, double{lowest}), double{highest});
    const double error = std::fabs(double{load(out, type, at)} - expected);
    const double allowed = type == ActivationType::kFloat32 ? 0 : std::fabs(expected) / 256;
    require(error <= allowed, "outputs are what the definition says");
  }
};

// Bit for bit, but for what a NaN says besides.
bool same(const Bytes& a, const Bytes& b, ActivationType type) {
  for (std::size_t i = 0; i < a.size() / width_of(type); ++i) {
    const std::size_t at = i * width_of(type);
    if (std::memcmp(a.data() + at, b.data() + at, width_of(type)) == 0) continue;
    if (!std::isnan(load(a, type, i)) || !std::isnan(load(b, type, i))) return false;
  }
  return true;
}

// Runs a layer on every instruction set and returns what all of them make of it.
template <class Run>
Bytes run_alike(std::size_t outputs, ActivationType type, const Run& run) {
  Bytes first;
  for (const std::string& isa : available_isas()) {
    set_isa(isa);
    Bytes out(outputs * width_of(type), 0xA5);
    run(out.data());
    if (isa == "baseline") first = out;
    require(same(out, first, type), "all instruction sets compute the same bits");
  }
  return first;
}

// The sum of one output as the header of convolutions defines it.
double sum_of(const Convolution& conv, const Bytes& x, ActivationType type, std::size_t sample,
              std::size_t row, std::size_t out_row, std::size_t out_column) {
  const IndexShape& shape = conv.index;
  const std::size_t group = row / shape.group_rows();
  double sum = 0;
  for (std::size_t block = 0; block < shape.blocks(); ++block) {
    const std::size_t list =
        2 * ((group * shape.blocks() + block) * shape.group_rows() + row % shape.group_rows());
    for (std::size_t i = conv.starts[list]; i < conv.starts[list + 2]; ++i) {
      const std::size_t channel =
          group * shape.channels + block * shape.block_channels + conv.codes[i] / shape.taps;
      const std::size_t tap = conv.codes[i] % shape.taps;
      const std::size_t y = out_row * conv.rows.stride + tap / conv.columns.taps * conv.rows.dilation;
      const std::size_t at =
          out_column * conv.columns.stride + tap % conv.columns.taps * conv.columns.dilation;
      if (y < conv.rows.padding || y - conv.rows.padding >= conv.rows.input || at < conv.columns.padding ||
          at - conv.columns.padding >= conv.columns.input) {
        continue;
      }
      const std::size_t plane = (sample * shape.groups * shape.channels + channel) * conv.rows.input;
      const double value = double{
          load(x, type, (plane + y - conv.rows.padding) * conv.columns.input + at - conv.columns.padding)};
      sum += i < conv.starts[list + 1] ? double{conv.ratios[row]} * value : -value;
    }
  }
  return sum;
}

struct Index {
  std::vector<std::uint16_t> codes;
  std::vector<std::uint32_t> starts;
};

// Lists of the trits, some of them damaged; false if they are refused then.
bool make_index(Input& input, const std::vector<std::int8_t>& trits, const IndexShape& shape, Index& index) {
  index.codes.resize(trits.size() - static_cast<std::size_t>(std::count(trits.begin(), trits.end(), 0)));
  index.starts.resize(shape.lists() + 1);
  build_index(trits.data(), shape, index.codes.data(), index.starts.data());
  require(is_valid_index(index.codes.data(), index.codes.size(), index.starts.data(), shape),
          "what is built can run");
  std::vector<std::int8_t> back(trits.size(), 2);
  read_index(index.codes.data(), index.starts.data(), shape, back.data());
  require(back == trits, "the trits come back");
  for (unsigned damages = input.byte() % 4; damages != 0; --damages) {
    const std::size_t at = input.below(1u << 16);
    if (input.byte() % 2 == 0) {
      index.starts[at % index.starts.size()] =
          static_cast<std::uint32_t>(input.below(index.codes.size() + 2));
    } else if (!index.codes.empty()) {
      index.codes[at % index.codes.size()] = static_cast<std::uint16_t>(input.below(1u << 16));
    }
  }
  if (!is_valid_index(index.codes.data(), index.codes.size(), index.starts.data(), shape)) return false;
  read_index(index.codes.data(), index.starts.data(), shape, back.data());
  return true;
}

// What lists and ratios stand for: the ratio where a weight is +1, and -1.
std::vector<float> dense_weights(const Convolution& conv) {
  const std::size_t of_a_row = conv.index.channels * conv.index.taps;
  std::vector<std::int8_t> trits(conv.index.rows * of_a_row);
  read_index(conv.codes, conv.starts, conv.index, trits.data());
  std::vector<float> weights(trits.size());
  for (std::size_t i = 0; i < trits.size(); ++i) {
    weights[i] = trits[i] == 0 ? 0.0f : trits[i] > 0 ? conv.ratios[i / of_a_row] : -1.0f;
  }
  return weights;
}

Axis axis_of(Input& input, std::size_t taps, bool large) {
  Axis axis{1u + input.byte() % 12, 1u + input.byte() % 12, taps,
            1u + input.byte() % 4,  1u + input.byte() % 4,  input.byte() % 9u};
  if (large) axis.output += 64 + input.below(128);
  return axis;
}

void check_convolution(Input& input, Numbers& numbers, ActivationType type) {
  const unsigned way = input.byte();
  const bool large = way >= 250;  // more pixels than one band has
  const std::size_t group_rows = way % 16 == 15 ? 250u + input.byte() % 16 : 1u + input.byte() % 8;
  const std::size_t groups = 1u + input.byte() % 3, channels = 1u + input.byte() % 7;
  const std::size_t taps_down = 1u + input.byte() % 3, taps_across = 1u + input.byte() % 4;
  const IndexShape shape{groups * (large ? 1 : group_rows), groups, channels, taps_down * taps_across,
                         1u + input.byte() % (channels + 1)};
  const std::size_t batch = large ? 1 : input.byte() % 3;
  Axis rows = axis_of(input, taps_down, large), columns = axis_of(input, taps_across, large);
  if (way >= 253 && taps_down == 1) {  // a line longer than the cache
    rows.input = rows.output = 1;
    columns.output += 8192;
    columns.input += columns.output;
  }
  require(is_valid_shape(shape), "small shapes are valid");
  Index index;
  const unsigned zeros = input.byte();
  if (!make_index(input, numbers.trits(shape.rows * channels * shape.taps, zeros), shape, index)) return;

  const std::vector<float> ratios = numbers.array(shape.rows), scales = numbers.array(shape.rows);
  const Convolution conv{
      batch,         rows,          columns, shape, index.codes.data(), index.starts.data(),
      ratios.data(), scales.data(), nullptr};
  require(is_valid_convolution(conv), "small convolutions are valid");
  const Bytes x = numbers.activations(batch * groups * channels * rows.input * columns.input, type);
  const std::size_t outputs = batch * shape.rows * rows.output * columns.output;
  const Ending ending(input, numbers, type, shape.rows, outputs);
  const unsigned threads = input.byte() % 4;
  const Bytes out = run_alike(outputs, type, [&](std::uint8_t* to) {
    convolve(conv, {x.data(), type}, ending.pointers(), to, threads);
  });
  // The same with dense weights.
  Convolution dense = conv;
  std::vector<float> weights;
  if (input.byte() % 2 != 0) {
    weights = dense_weights(conv);
    dense.codes = nullptr, dense.starts = nullptr, dense.ratios = nullptr;
    dense.weights = weights.data();
  }
  const Bytes dense_out = run_alike(dense.weights != nullptr ? outputs : 0, type, [&](std::uint8_t* to) {
    if (dense.weights != nullptr) convolve(dense, {x.data(), type}, ending.pointers(), to, threads);
  });
  if (!numbers.whole()) return;
  for (std::size_t i = 0; i < outputs; i += 1 + outputs / 256) {
    const std::size_t pixel = i % (rows.output * columns.output), row = i / (rows.output * columns.output);
    const double sum = sum_of(conv, x, type, row / shape.rows, row % shape.rows, pixel / columns.output,
                              pixel % columns.output);
    ending.check(sum * double{scales[row % shape.rows]}, row % shape.rows, out, i);
    if (dense.weights == nullptr) continue;
    ending.check(sum * double{scales[row % shape.rows]}, row % shape.rows, dense_out, i);
  }
}

void check_product(Input& input, Numbers& numbers, ActivationType type) {
  const std::size_t rows = 1 + input.below(200), columns = 1 + input.below(200), batch = input.byte() % 3;
  const unsigned levels = input.byte();
  const MatrixShape shape{rows, columns, levels < 128 ? columns : 1 + levels % columns};
  require(is_valid_matrix(shape), "small matrices are valid");
  const std::vector<std::int8_t> trits = numbers.trits(rows * columns, input.byte());
  std::vector<std::uint32_t> codes(shape.words(), 0xA5A5A5A5);
  build_codes(trits.data(), shape, codes.data());
  std::vector<std::int8_t> back(trits.size(), 2);
  read_codes(codes.data(), shape, back.data());
  require(back == trits, "the trits come back");

  const std::size_t n_levels = shape.groups() * shape.level_rows();
  const std::vector<float> positives = numbers.array(n_levels), negatives = numbers.array(n_levels);
  const bool opposite = levels % 2 != 0;
  const Matrix matrix{shape, codes.data(), positives.data(), opposite ? nullptr : negatives.data()};
  const Bytes x = numbers.activations(batch * columns, type);
  const Ending ending(input, numbers, type, rows, batch * rows);
  const unsigned threads = input.byte() % 4;
  const Bytes out = run_alike(batch * rows, type, [&](std::uint8_t* to) {
    multiply(matrix, {x.data(), type}, batch, ending.pointers(), to, threads);
  });
  if (!numbers.whole()) return;
  for (std::size_t i = 0; i < batch * rows; ++i) {
    double sum = 0;
    for (std::size_t c = 0; c < columns; ++c) {
      const std::int8_t trit = trits[i % rows * columns + c];
      const std::size_t at = c / shape.group_width * shape.level_rows() + i % rows;
      const double negative = opposite ? -double{positives[at]} : double{negatives[at]};
      const double level = trit == 0 ? 0 : trit > 0 ? double{positives[at]} : negative;
      sum += level * double{load(x, type, i / rows * columns + c)};
    }
    ending.check(sum, i % rows, out, i);
  }
}

// The sum of one output of a bitwise layer, by the trits of its planes; NaN where it reads one.
double bitwise_sum_of(const BitwiseConvolution& conv, const std::vector<std::int8_t>& trits, const Bytes& x,
                      ActivationType type, std::size_t at) {
  const std::size_t column = at % conv.columns.output;
  const std::size_t line = at / conv.columns.output % conv.rows.output;
  const std::size_t channel = at / conv.columns.output / conv.rows.output;
  const std::size_t row = channel % conv.shape.rows, sample = channel / conv.shape.rows;
  const std::size_t group = sample * conv.shape.groups + row / conv.shape.group_rows();
  double sum = 0;
  for (std::size_t i = 0; i < conv.shape.channels * conv.shape.taps; ++i) {
    const std::size_t tap = i % conv.shape.taps;
    const std::size_t y = line * conv.rows.stride + tap / conv.columns.taps * conv.rows.dilation;
    const std::size_t z = column * conv.columns.stride + tap % conv.columns.taps * conv.columns.dilation;
    if (y < conv.rows.padding || y - conv.rows.padding >= conv.rows.input || z < conv.columns.padding ||
        z - conv.columns.padding >= conv.columns.input) {
      continue;
    }
    const std::size_t plane = (group * conv.shape.channels + i / conv.shape.taps) * conv.rows.input;
    const float value =
        load(x, type, (plane + y - conv.rows.padding) * conv.columns.input + z - conv.columns.padding);
    if (std::isnan(value)) return std::numeric_limits<double>::quiet_NaN();
    const int step = (value > conv.threshold ? 1 : 0) - (value < -conv.threshold ? 1 : 0);
    sum += step * trits[row * conv.shape.channels * conv.shape.taps + i];
  }
  return sum;
}

void check_bitwise(Input& input, Numbers& numbers, ActivationType type) {
  const unsigned way = input.byte();
  const std::size_t groups = 1u + way % 3, group_rows = 1u + input.byte() % 36;
  const std::size_t channels = 1u + input.byte() % 130;
  const std::size_t taps_down = 1u + input.byte() % 3, taps_across = 1u + input.byte() % 3;
  const PlaneShape shape{groups * group_rows, groups, channels, taps_down * taps_across};
  const Axis rows = axis_of(input, taps_down, false), columns = axis_of(input, taps_across, way >= 240);
  const std::size_t batch = input.byte() % 3;
  require(is_valid_planes_shape(shape), "small planes are valid");
  std::vector<std::int8_t> trits = numbers.trits(shape.rows * channels * shape.taps, input.byte());
  std::vector<std::uint32_t> planes(shape.size(), 0xA5A5A5A5);
  build_planes(trits.data(), shape, planes.data());
  std::vector<std::int8_t> back(trits.size(), 2);
  read_planes(planes.data(), shape, back.data());
  require(back == trits, "the trits come back");
  for (unsigned damages = input.byte() % 4; damages != 0; --damages) {  // any planes can be run
    planes[input.below(1u << 16) % planes.size()] ^= numbers.bits() << 8;
  }
  read_planes(planes.data(), shape, trits.data());

  const std::vector<float> scales = numbers.array(shape.rows);
  const float threshold = static_cast<float>(input.byte() % 8) / 2;
  const BitwiseConvolution conv{batch, rows, columns, shape, planes.data(), scales.data(), threshold};
  require(is_valid_bitwise(conv), "small convolutions are valid");
  const Bytes x = numbers.activations(batch * groups * channels * rows.input * columns.input, type);
  const std::size_t outputs = batch * shape.rows * rows.output * columns.output;
  const Ending ending(input, numbers, type, shape.rows, outputs);
  const unsigned threads = input.byte() % 4;
  const Bytes out = run_alike(outputs, type, [&](std::uint8_t* to) {
    convolve_bitwise(conv, {x.data(), type}, ending.pointers(), to, threads);
  });
  for (std::size_t i = 0; i < outputs; i += 1 + outputs / 128) {
    const double sum = bitwise_sum_of(conv, trits, x, type, i);
    const std::size_t row = i / (rows.output * columns.output) % shape.rows;
    if (std::isnan(sum)) {
      require(std::isnan(load(out, type, i)), "a NaN stays one");
    } else if (numbers.whole()) {
      ending.check(sum * double{scales[row]}, row, out, i);
    }
  }
}

#if defined(TERNZIP_X86)
// The table of processors without VPOPCNTDQ, on one that has it.
void check_popcounts(Numbers& numbers) {
  constexpr std::size_t kTaps = 2, kWords = 13;
  std::vector<std::uint32_t> weights(kTaps * kWords * 2 * kSumRows), inputs(kTaps * kSumPixels * kWords * 2);
  for (std::uint32_t& word : weights) word = numbers.bits() << 16 | numbers.bits();
  for (std::uint32_t& word : inputs) word = numbers.bits() << 16 | numbers.bits();
  std::vector<const std::uint32_t*> pointers;
  for (std::size_t i = 0; i < kTaps * kSumPixels; ++i) pointers.push_back(inputs.data() + i * kWords * 2);
  float expected[kSumRows * kSumPixels], found[kSumRows * kSumPixels];
  kBitwiseBaseline.sum(weights.data(), pointers.data(), kTaps, kWords, kSumPixels, kSumPixels, expected);
  kBitwiseAvx512.sum(weights.data(), pointers.data(), kTaps, kWords, kSumPixels, kSumPixels, found);
  require(std::equal(found, found + kSumRows * kSumPixels, expected), "all tables count alike");
}
#endif

void check(Input& input) {
  const unsigned way = input.byte();
  Numbers numbers(input, way % 2 == 0);
  const ActivationType type = way / 2 % 2 == 0 ? ActivationType::kFloat32 : ActivationType::kBFloat16;
  if (way >= 192) {
    check_bitwise(input, numbers, type);
#if defined(TERNZIP_X86)
    if (way == 255 && has_vector_popcount()) check_popcounts(numbers);
#endif
  } else if (way / 4 % 4 == 0) {
    check_product(input, numbers, type);
  } else {
    check_convolution(input, numbers, type);
  }
}

}  // namespace
}  // namespace ternzip::fuzz

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  ternzip::fuzz::Input input(data, size);
  ternzip::fuzz::check(input);
  return 0;
}
