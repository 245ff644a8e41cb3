#include "core/runtime/convolution.hpp"

#include <algorithm>
#include <initializer_list>
#include <utility>
#include <vector>

#include "core/base/parallel.hpp"
#include "core/runtime/aligned_floats.hpp"
#include "core/runtime/epilogue.hpp"

namespace ternzip {
namespace {

// Floats of a band's copies: what the second cache holds beside the sums.
constexpr std::size_t kBandFloats = std::size_t{96} << 10;

// Output channels whose sums wait in the second cache for the next block of input channels.
constexpr std::size_t kRowsAtOnce = 256;

// The copies of the input that a band of output rows reads.
//
// Of every channel there is one copy for each column tap, shifted so that output column 0 reads column 0,
// with every `stride`-th column only; its rows are sorted by their number modulo the vertical stride. Then
// whatever a weight reads for consecutive output pixels, over the ends of rows too, is one stretch of memory.
// Where row taps are too far apart to share rows, as dilated ones are, each has rows of its own instead: what
// lies between them is not copied. A copy starts at a cache line, so that for the usual widths most reads do.
struct Band {
  const Convolution& conv;
  std::size_t first_row;  // of the output
  std::size_t rows;
  bool by_tap;             // a class is what a row tap reads; else, rows of the same number modulo the stride
  std::size_t class_rows;  // rows of a class
  std::size_t classes;

  Band(const Convolution& convolution, std::size_t first, std::size_t count)
      : conv(convolution), first_row(first), rows(count) {
    const Axis& axis = conv.rows;
    const std::size_t reach = (axis.taps - 1) * axis.dilation;
    class_rows = rows + reach / axis.stride;
    classes = std::min(axis.stride, reach + 1);
    by_tap = static_cast<double>(axis.taps) * static_cast<double>(rows) <
             static_cast<double>(classes) * static_cast<double>(class_rows);
    if (by_tap) {
      class_rows = rows;
      classes = axis.taps;
    }
  }

  std::size_t pixels() const { return rows * conv.columns.output; }
  std::size_t copy_size() const { return whole_lines(classes * class_rows * conv.columns.output); }
  std::size_t channel_size() const { return conv.columns.taps * copy_size(); }

  // Where output pixel 0 of the band finds what the tap (y, x) of a channel reads, from the channel's start
  // on.
  std::size_t offset(std::size_t y, std::size_t x) const {
    const std::size_t row = y * conv.rows.dilation;
    const std::size_t at =
        by_tap ? y * class_rows : row % conv.rows.stride * class_rows + row / conv.rows.stride;
    return x * copy_size() + at * conv.columns.output;
  }

  // Fills the copies of one channel, which starts at element `channel` of x.
  void pack(const Activations& x, std::size_t channel, float* out) const {
    const bool alike = !by_tap && conv.rows.stride == 1 && conv.columns.stride == 1 &&
                       conv.columns.input == conv.columns.output;
    for (std::size_t tap = 0; tap < conv.columns.taps; ++tap, out += copy_size()) {
      float* const end = alike ? pack_together(x, channel, tap, out) : pack_apart(x, channel, tap, out);
      std::fill(end, out + copy_size(), 0.0f);
    }
  }

 private:
  // A copy whose rows are as long as those of the input, which is one stretch then: shifted, and zeros in the
  // columns that read outside. Returns its end, as pack_apart does.
  float* pack_together(const Activations& x, std::size_t channel, std::size_t tap, float* out) const {
    const std::size_t width = conv.columns.input, padding = conv.columns.padding;
    const std::size_t above =
        conv.rows.padding > first_row ? std::min(class_rows, conv.rows.padding - first_row) : 0;
    const std::size_t first = first_row + above - std::min(conv.rows.padding, first_row + above);
    const std::size_t n = first < conv.rows.input ? std::min(class_rows - above, conv.rows.input - first) : 0;
    float* const begin = std::fill_n(out, above * width, 0.0f);
    float* const end = begin + n * width;
    if (n > 0) {
      const std::size_t from = channel + first * width, shift = tap * conv.columns.dilation;
      const bool left = shift < padding;  // the tap reads to the left of the pixel
      const std::size_t by = std::min(width, left ? padding - shift : shift - padding);
      widen(x, left ? from : from + by, 1, n * width - by, left ? begin + by : begin);
      const std::size_t outside = left ? 0 : width - by;  // the first column that does
      for (std::size_t c = outside; c < outside + by; ++c) {
        for (std::size_t r = 0; r < n; ++r) begin[r * width + c] = 0.0f;
      }
    }
    return std::fill_n(end, (class_rows - above - n) * width, 0.0f);
  }

  // A copy class by class, and row by row unless there is one column.
  float* pack_apart(const Activations& x, std::size_t channel, std::size_t tap, float* out) const {
    const std::size_t shift = tap * conv.columns.dilation;
    for (std::size_t c = 0; c < classes; ++c) {
      const std::size_t first = first_row * conv.rows.stride + (by_tap ? c * conv.rows.dilation : c);
      if (conv.columns.input == 1 && conv.columns.output == 1 && conv.columns.padding == shift) {
        out = pack_axis(x, channel, conv.rows, first, class_rows, out);
        continue;
      }
      for (std::size_t r = 0; r < class_rows; ++r) {
        const std::size_t padded = first + r * conv.rows.stride;
        if (padded < conv.rows.padding || padded - conv.rows.padding >= conv.rows.input) {
          out = std::fill_n(out, conv.columns.output, 0.0f);
        } else {
          const std::size_t row = channel + (padded - conv.rows.padding) * conv.columns.input;
          out = pack_axis(x, row, conv.columns, shift, conv.columns.output, out);
        }
      }
    }
    return out;
  }

  // The `count` elements at number `shift`, `shift` + stride, ... of an axis that begins at element `from` of
  // x, counted with the padding, and zeros where that is outside. Returns their end.
  static float* pack_axis(const Activations& x, std::size_t from, const Axis& axis, std::size_t shift,
                          std::size_t count, float* out) {
    // Outputs [0, begin) read before the elements, [end, count) behind them.
    const std::size_t begin =
        shift >= axis.padding ? 0 : std::min(count, (axis.padding - shift - 1) / axis.stride + 1);
    const std::size_t reach = axis.padding + axis.input;
    std::size_t end = shift >= reach ? 0 : std::min(count, (reach - shift - 1) / axis.stride + 1);
    end = std::max(begin, end);
    std::fill(out, out + begin, 0.0f);
    if (end > begin) {
      widen(x, from + begin * axis.stride + shift - axis.padding, axis.stride, end - begin, out + begin);
    }
    std::fill(out + end, out + count, 0.0f);
    return out + count;
  }
};

// One thread's work: bands of rows of samples, one after the other, in memory of its own.
class BandWorker {
 public:
  BandWorker(const Convolution& conv, const Activations& x, const LayerEpilogue& epilogue, void* out,
             std::size_t band_rows)
      : conv_(conv), x_(x), epilogue_(epilogue), out_(out), kernels_(runtime_kernels()) {
    const Band largest(conv, 0, band_rows);
    const std::size_t channels = conv.index.groups * conv.index.channels;
    packed_ = aligned_floats(channels * largest.channel_size() + kernels_.block + kPixelSlack);
    // What lies behind the last copy is read where the last pixels do not fill a vector.
    std::fill_n(packed_.get() + channels * largest.channel_size(), kernels_.block + kPixelSlack, 0.0f);
    sums_ = aligned_floats(std::min(kRowsAtOnce, conv.index.group_rows()) * kernels_.block);
    offsets_.resize(conv.index.block_channels * conv.index.taps);
  }

  void run(std::size_t sample, std::size_t first_row, std::size_t rows) {
    const Band band(conv_, first_row, rows);
    const std::size_t channels = conv_.index.groups * conv_.index.channels;
    const std::size_t plane = conv_.rows.input * conv_.columns.input;
    for (std::size_t c = 0; c < channels; ++c) {
      band.pack(x_, (sample * channels + c) * plane, packed_.get() + c * band.channel_size());
    }
    fill_offsets(band);
    for (std::size_t group = 0; group < conv_.index.groups; ++group) {
      const std::size_t end = (group + 1) * conv_.index.group_rows();
      for (std::size_t pixel = 0; pixel < band.pixels(); pixel += kernels_.block) {
        for (std::size_t row = group * conv_.index.group_rows(); row < end; row += kRowsAtOnce) {
          const std::size_t count = std::min(kRowsAtOnce, end - row);
          sum(band, group, row, count, pixel);
          finish(band, sample, row, count, pixel);
        }
      }
    }
  }

 private:
  void fill_offsets(const Band& band) {
    std::size_t code = 0;
    for (std::size_t c = 0; c < conv_.index.block_channels; ++c) {
      for (std::size_t y = 0; y < conv_.rows.taps; ++y) {
        for (std::size_t x = 0; x < conv_.columns.taps; ++x) {
          offsets_[code++] = static_cast<std::int32_t>(c * band.channel_size() + band.offset(y, x));
        }
      }
    }
  }

  // The sums of `count` rows of a group from number `row` on, at the pixels of a block.
  void sum(const Band& band, std::size_t group, std::size_t row, std::size_t count, std::size_t pixel) {
    const IndexShape& shape = conv_.index;
    for (std::size_t block = 0; block < shape.blocks(); ++block) {
      const std::size_t channel = group * shape.channels + block * shape.block_channels;
      const float* const base = packed_.get() + channel * band.channel_size() + pixel;
      const std::size_t pixels = std::min(kernels_.block, band.pixels() - pixel);
      if (conv_.weights != nullptr) {
        const std::size_t before = block * shape.block_channels;
        const RowWeights weights{conv_.weights + (row * shape.channels + before) * shape.taps,
                                 shape.channels * shape.taps,
                                 std::min(shape.block_channels, shape.channels - before) * shape.taps, count};
        kernels_.accumulate_products(base, offsets_.data(), weights, pixels, block == 0, sums_.get());
        continue;
      }
      const std::size_t first = (group * shape.blocks() + block) * shape.group_rows();
      const std::size_t list = 2 * (first + row - group * shape.group_rows());
      const RowLists lists{conv_.codes, conv_.starts + list, conv_.ratios + row, count};
      kernels_.accumulate(base, offsets_.data(), lists, pixels, block == 0, sums_.get());
    }
  }

  void finish(const Band& band, std::size_t sample, std::size_t row, std::size_t count,
              std::size_t pixel) const {
    const std::size_t n = std::min(kernels_.block, band.pixels() - pixel);
    for (std::size_t k = row; k < row + count; ++k) {
      const std::size_t at =
          ((sample * conv_.index.rows + k) * conv_.rows.output + band.first_row) * conv_.columns.output +
          pixel;
      finish_row(sums_.get() + (k - row) * kernels_.block, n, conv_.scales[k], k, at, x_.type, epilogue_,
                 out_);
    }
  }

  const Convolution& conv_;
  const Activations& x_;
  const LayerEpilogue& epilogue_;
  void* out_;
  const RuntimeKernels& kernels_;
  AlignedFloats packed_;
  AlignedFloats sums_;
  std::vector<std::int32_t> offsets_;
};

// A convolution of one line that the cache has no room for, as one of one column: the same sums of the same
// memory, and bands can cut it.
Convolution turned(const Convolution& conv) {
  Convolution made = conv;
  const bool line = conv.rows.input == 1 && conv.rows.output == 1 && conv.rows.taps == 1;
  const double floats = static_cast<double>(conv.index.groups * conv.index.channels) *
                        static_cast<double>(conv.columns.taps) * static_cast<double>(conv.columns.output);
  if (line && floats > static_cast<double>(kBandFloats)) std::swap(made.rows, made.columns);
  return made;
}

// As many rows as the cache has room for, fewer where there are threads without work.
std::size_t rows_of_band(const Convolution& conv, unsigned threads) {
  const std::size_t channels = conv.index.groups * conv.index.channels;
  std::size_t rows = 1;
  for (std::size_t most = conv.rows.output; rows < most;) {
    const std::size_t half = rows + (most - rows + 1) / 2;
    const bool fits = channels * Band(conv, 0, half).channel_size() <= kBandFloats;
    (fits ? rows : most) = fits ? half : half - 1;
  }
  const std::size_t wanted = (threads + conv.batch - 1) / conv.batch;  // bands of a sample
  rows = std::min(rows, (conv.rows.output + wanted - 1) / wanted);
  const std::size_t bands = (conv.rows.output + rows - 1) / rows;
  return (conv.rows.output + bands - 1) / bands;
}

}  // namespace

double additions_of_sample(const Convolution& conv) noexcept {
  const IndexShape& shape = conv.index;
  const double weights = conv.weights == nullptr ? static_cast<double>(conv.starts[shape.lists()])
                                                 : static_cast<double>(shape.rows) *
                                                       static_cast<double>(shape.channels * shape.taps);
  return weights * static_cast<double>(conv.rows.output) * static_cast<double>(conv.columns.output);
}

bool is_valid_axis(const Axis& axis) noexcept {
  constexpr std::size_t kMost = std::size_t{1} << 30;
  for (const std::size_t n : {axis.input, axis.output, axis.taps, axis.stride, axis.dilation}) {
    if (n == 0 || n > kMost) return false;
  }
  return axis.padding <= kMost;
}

bool is_valid_convolution(const Convolution& conv) noexcept {
  if (!is_valid_shape(conv.index) || conv.rows.taps * conv.columns.taps != conv.index.taps ||
      !is_valid_axis(conv.rows) || !is_valid_axis(conv.columns)) {
    return false;
  }
  // A block's offsets are 32 bits wide, and a band has one row at least.
  const Convolution made = turned(conv);
  const Band band(made, 0, 1);
  const double row = static_cast<double>(band.classes) * static_cast<double>(band.class_rows) *
                     static_cast<double>(made.columns.output) * static_cast<double>(made.columns.taps);
  return row * static_cast<double>(conv.index.block_channels) < 0x1p30 &&
         row * static_cast<double>(conv.index.groups * conv.index.channels) < 0x1p40;
}

void convolve(const Convolution& convolution, const Activations& x, const LayerEpilogue& epilogue, void* out,
              unsigned threads) {
  if (convolution.batch == 0) return;
  const Convolution conv = turned(convolution);
  threads = worthwhile_threads(additions_of_sample(conv) * static_cast<double>(conv.batch),
                               kAdditionsPerThread, threads);
  const std::size_t band_rows = rows_of_band(conv, threads);
  const std::size_t bands = (conv.rows.output + band_rows - 1) / band_rows;
  parallel_for(conv.batch * bands, 1, threads, [&](std::size_t first, std::size_t last, std::size_t) {
    BandWorker worker(conv, x, epilogue, out, band_rows);
    for (std::size_t i = first; i < last; ++i) {
      const std::size_t row = i % bands * band_rows;
      worker.run(i / bands, row, std::min(band_rows, conv.rows.output - row));
    }
  });
}

}  // namespace ternzip
