// The inner loops of layers whose weights and inputs are both ternary. One table per instruction set, filled
// by bitwise_kernels.cpp.
//
// Sums are whole numbers: all tables compute the same. Pointers need no alignment.
#pragma once

#include <cstddef>
#include <cstdint>

namespace ternzip {

// The most pixels one call of sum() takes.
inline constexpr std::size_t kSumPixels = 8;

// Output rows that one call of sum() makes.
inline constexpr std::size_t kSumRows = 16;

// Pixels that one call of pack() takes.
inline constexpr std::size_t kPackPixels = 16;

// Channels that one call of pack() takes.
inline constexpr std::size_t kPackChannels = 32;

struct BitwiseKernels {
  // Trits of `channels` rows of kPackPixels floats, `step` floats apart: masks[p] and signs[p] have a bit for
  // each channel, 1 where |x| > threshold, and where x < -threshold. Returns a bit for each pixel that has a
  // NaN, whose trit is 0.
  std::uint32_t (*pack)(const float* x, std::size_t step, std::size_t channels, float threshold,
                        std::uint32_t* masks, std::uint32_t* signs);

  // sums[r stride + p], for kSumRows rows r and each of `pixels` pixels p, as a float: the sum over `taps`
  // taps and `words` words of the products of the trits. `weights`[taps][words][mask, signs][kSumRows]; the
  // words of a tap and pixel are inputs[tap kSumPixels + p][words][mask, sign].
  void (*sum)(const std::uint32_t* weights, const std::uint32_t* const* inputs, std::size_t taps,
              std::size_t words, std::size_t pixels, std::size_t stride, float* sums);
};

extern const BitwiseKernels kBitwiseBaseline;
#if defined(TERNZIP_X86)
extern const BitwiseKernels kBitwiseAvx2;
extern const BitwiseKernels kBitwiseAvx512;
extern const BitwiseKernels kBitwiseAvx512Popcount;  // with VPOPCNTDQ
#endif

// The table of the active instruction set.
const BitwiseKernels& bitwise_kernels() noexcept;

}  // namespace ternzip
