#include "core/runtime/bitwise.hpp"

#include <algorithm>
#include <atomic>
#include <cstring>
#include <limits>
#include <vector>

#include "core/base/parallel.hpp"
#include "core/runtime/bitwise_kernels.hpp"
#include "core/runtime/epilogue.hpp"

namespace ternzip {
namespace {

static_assert(kSumRows == kPlaneRows && kPackChannels == kPlaneChannels);

// Output pixels whose sums wait for the epilogue: a tile of weights is read once for them.
constexpr std::size_t kBlockPixels = 64;
static_assert(kBlockPixels % kSumPixels == 0);

// Products of words for which a second thread is worth its start.
constexpr std::size_t kWordsPerThread = std::size_t{1} << 20;

// Inputs that packing handles in the time of one product of words.
constexpr std::size_t kPackedPerWord = 8;

// The inputs of a batch as planes: [batch][groups][pixels][words][mask, sign], and a pixel of zeros for what
// lies outside.
class PackedInputs {
 public:
  PackedInputs(const BitwiseConvolution& conv, const Activations& x, unsigned threads)
      : conv_(conv),
        x_(x),
        pixels_(conv.rows.input * conv.columns.input),
        pixel_size_(2 * conv.shape.words()),
        planes_(conv.batch * conv.shape.groups * pixels_ * pixel_size_),
        nans_(conv.batch * conv.shape.groups * pixels_),
        zeros_(pixel_size_) {
    const std::size_t chunks = (pixels_ + kPackPixels - 1) / kPackPixels;
    parallel_for(conv.batch * conv.shape.groups * chunks, 1, threads,
                 [&](std::size_t first, std::size_t last, std::size_t) {
                   float scratch[kPackChannels * kPackPixels] = {};
                   for (std::size_t i = first; i < last; ++i) {
                     pack(i / chunks, i % chunks * kPackPixels, scratch);
                   }
                 });
  }

  bool has_nans() const noexcept { return any_nan_.load(std::memory_order_relaxed); }

  // Planes of the pixel (y, x) of the padded input of a group, whose number counts on over the samples.
  const std::uint32_t* at(std::size_t group, std::size_t y, std::size_t x) const noexcept {
    return outside(y, x) ? zeros_.data() : planes_.data() + number(group, y, x) * pixel_size_;
  }
  bool is_nan(std::size_t group, std::size_t y, std::size_t x) const noexcept {
    return !outside(y, x) && nans_[number(group, y, x)] != 0;
  }

 private:
  bool outside(std::size_t y, std::size_t x) const noexcept {
    return y < conv_.rows.padding || y - conv_.rows.padding >= conv_.rows.input ||
           x < conv_.columns.padding || x - conv_.columns.padding >= conv_.columns.input;
  }
  std::size_t number(std::size_t group, std::size_t y, std::size_t x) const noexcept {
    return group * pixels_ + (y - conv_.rows.padding) * conv_.columns.input + x - conv_.columns.padding;
  }

  // Up to kPackPixels pixels from number `first` on. `scratch` is zero beyond the pixels that there are.
  void pack(std::size_t group, std::size_t first, float* scratch) {
    const std::size_t n = std::min(kPackPixels, pixels_ - first);
    const bool in_place = x_.type == ActivationType::kFloat32 && n == kPackPixels;
    std::uint32_t masks[kPackPixels], signs[kPackPixels], nans = 0;
    if (n < kPackPixels) std::fill_n(scratch, kPackChannels * kPackPixels, 0.0f);
    std::uint32_t* to = planes_.data() + (group * pixels_ + first) * pixel_size_;
    for (std::size_t c = 0; c < conv_.shape.channels; c += kPackChannels, to += 2) {
      const std::size_t count = std::min(kPackChannels, conv_.shape.channels - c);
      const std::size_t from = (group * conv_.shape.channels + c) * pixels_ + first;
      for (std::size_t i = 0; !in_place && i < count; ++i) {
        widen(x_, from + i * pixels_, 1, n, scratch + i * kPackPixels);
      }
      const float* const x = in_place ? static_cast<const float*>(x_.data) + from : scratch;
      nans |=
          bitwise_kernels().pack(x, in_place ? pixels_ : kPackPixels, count, conv_.threshold, masks, signs);
      for (std::size_t p = 0; p < n; ++p) {
        to[p * pixel_size_] = masks[p];
        to[p * pixel_size_ + 1] = signs[p];
      }
    }
    if (nans == 0) return;
    any_nan_.store(true, std::memory_order_relaxed);
    for (std::size_t p = 0; p < n; ++p) {
      nans_[group * pixels_ + first + p] = static_cast<std::uint8_t>(nans >> p & 1u);
    }
  }

  const BitwiseConvolution& conv_;
  const Activations& x_;
  std::size_t pixels_;
  std::size_t pixel_size_;
  std::vector<std::uint32_t> planes_;
  std::vector<std::uint8_t> nans_;
  std::vector<std::uint32_t> zeros_;
  std::atomic<bool> any_nan_{false};
};

// One thread's work: blocks of output pixels of samples, one after the other.
class BlockWorker {
 public:
  BlockWorker(const BitwiseConvolution& conv, const PackedInputs& inputs, ActivationType type,
              const LayerEpilogue& epilogue, void* out)
      : conv_(conv),
        inputs_(inputs),
        type_(type),
        epilogue_(epilogue),
        out_(out),
        pixels_(conv.rows.output * conv.columns.output),
        pointers_(conv.shape.taps * kBlockPixels) {}

  // Output pixels [first, first + n) of a sample.
  void run(std::size_t sample, std::size_t first, std::size_t n) {
    const PlaneShape& shape = conv_.shape;
    const std::uint32_t* weights = conv_.planes;
    for (std::size_t group = 0; group < shape.groups; ++group) {
      point_at(sample * shape.groups + group, first, n);
      const std::size_t end = (group + 1) * shape.group_rows();
      for (std::size_t row = group * shape.group_rows(); row < end; row += kSumRows) {
        for (std::size_t p = 0; p < n; p += kSumPixels) {
          bitwise_kernels().sum(weights, pointers_.data() + p * shape.taps, shape.taps, shape.words(),
                                std::min(kSumPixels, n - p), kBlockPixels, sums_ + p);
        }
        weights += shape.tile_size();
        finish(sample, row, std::min(kSumRows, end - row), first, n);
      }
    }
  }

 private:
  // Finds what each pixel reads: pointers_[pixel / kSumPixels][taps][pixel % kSumPixels].
  void point_at(std::size_t group, std::size_t first, std::size_t n) {
    for (std::size_t p = 0; p < n; ++p) {
      const std::size_t y = (first + p) / conv_.columns.output * conv_.rows.stride;
      const std::size_t x = (first + p) % conv_.columns.output * conv_.columns.stride;
      const std::uint32_t** to =
          pointers_.data() + p / kSumPixels * kSumPixels * conv_.shape.taps + p % kSumPixels;
      reads_nan_[p] = false;
      for (std::size_t down = 0; down < conv_.rows.taps; ++down) {
        for (std::size_t across = 0; across < conv_.columns.taps; ++across, to += kSumPixels) {
          const std::size_t at_y = y + down * conv_.rows.dilation, at_x = x + across * conv_.columns.dilation;
          *to = inputs_.at(group, at_y, at_x);
          if (inputs_.has_nans() && inputs_.is_nan(group, at_y, at_x)) reads_nan_[p] = true;
        }
      }
    }
  }

  void finish(std::size_t sample, std::size_t row, std::size_t rows, std::size_t first, std::size_t n) {
    for (std::size_t p = 0; inputs_.has_nans() && p < n; ++p) {
      for (std::size_t r = 0; reads_nan_[p] && r < rows; ++r) {
        sums_[r * kBlockPixels + p] = std::numeric_limits<float>::quiet_NaN();
      }
    }
    for (std::size_t r = 0; r < rows; ++r) {
      const std::size_t k = row + r, at = (sample * conv_.shape.rows + k) * pixels_ + first;
      finish_row(sums_ + r * kBlockPixels, n, conv_.scales[k], k, at, type_, epilogue_, out_);
    }
  }

  const BitwiseConvolution& conv_;
  const PackedInputs& inputs_;
  ActivationType type_;
  const LayerEpilogue& epilogue_;
  void* out_;
  std::size_t pixels_;
  std::vector<const std::uint32_t*> pointers_;
  float sums_[kSumRows * kBlockPixels];
  bool reads_nan_[kBlockPixels];
};

// What a call does, in products of words.
double work_of(const BitwiseConvolution& conv) {
  const double products = static_cast<double>(conv.shape.size()) / 2 *
                          static_cast<double>(conv.rows.output * conv.columns.output);
  const double packed = static_cast<double>(conv.shape.groups * conv.shape.channels) *
                        static_cast<double>(conv.rows.input * conv.columns.input);
  return static_cast<double>(conv.batch) * (products + packed / kPackedPerWord);
}

}  // namespace

bool is_valid_bitwise(const BitwiseConvolution& conv) noexcept {
  return is_valid_planes_shape(conv.shape) && is_valid_axis(conv.rows) && is_valid_axis(conv.columns) &&
         conv.rows.taps * conv.columns.taps == conv.shape.taps && conv.threshold >= 0;
}

void convolve_bitwise(const BitwiseConvolution& conv, const Activations& x, const LayerEpilogue& epilogue,
                      void* out, unsigned threads) {
  if (conv.batch == 0) return;
  threads = worthwhile_threads(work_of(conv), kWordsPerThread, threads);
  const PackedInputs inputs(conv, x, threads);
  const std::size_t pixels = conv.rows.output * conv.columns.output;
  const std::size_t blocks = (pixels + kBlockPixels - 1) / kBlockPixels;
  parallel_for(conv.batch * blocks, 1, threads, [&](std::size_t first, std::size_t last, std::size_t) {
    BlockWorker worker(conv, inputs, x.type, epilogue, out);
    for (std::size_t i = first; i < last; ++i) {
      const std::size_t pixel = i % blocks * kBlockPixels;
      worker.run(i / blocks, pixel, std::min(kBlockPixels, pixels - pixel));
    }
  });
}

}  // namespace ternzip
