// The inner loops over bit patterns that find, extract and expand ternary tensors: one table per
// instruction set, filled by scan_kernels.cpp.
//
// Functions come by element width: index 0..3 for 1, 2, 4, 8 bytes. Pointers need no alignment.
#pragma once

#include <cstddef>
#include <cstdint>

namespace ternzip {

// Elements that one call of a counting kernel may take, so that its 16-bit counters cannot overflow.
inline constexpr std::size_t kScanBlock = 16384;

struct PatternCounts {
  std::uint32_t negative, positive, zero, negative_zero;
};

struct ScanKernels {
  // Counts the elements equal to each pattern; the rest, n minus the four, is what fits none.
  // Patterns may coincide: each element is then counted for each.
  PatternCounts (*match[4])(const void* src, std::size_t n, std::uint64_t negative, std::uint64_t positive,
                            std::uint64_t negative_zero);
  // Trit by sign: 0 for the two zero patterns, else -1 or +1 by the top bit.
  void (*extract[4])(const void* src, std::size_t n, std::uint64_t negative_zero, std::int8_t* trits);
  // The level by the trit's sign, 0 for 0.
  void (*expand[4])(const std::int8_t* trits, std::size_t n, std::uint64_t negative, std::uint64_t positive,
                    void* dst);
  // How many elements are zero of either sign; n <= kScanBlock.
  std::uint32_t (*zeros[4])(const void* src, std::size_t n, std::uint64_t negative_zero);
  // The levels of consecutive blocks of `width` elements as elements of the type, 0 for a level that does not
  // occur; NaNs are taken for levels. Returns the number of the first block that has a further value, else
  // `blocks`.
  std::size_t (*block_levels[4])(const void* src, std::size_t blocks, std::size_t width,
                                 std::uint64_t negative_zero, void* negative_levels, void* positive_levels);
  // How many elements are negative, positive, +0 and -0; n <= kScanBlock.
  PatternCounts (*count_signs[4])(const void* src, std::size_t n, std::uint64_t negative_zero);
};

// The table of the active instruction set (core/simd/isa.hpp).
const ScanKernels& scan_kernels() noexcept;

extern const ScanKernels kScanBaseline;
#if defined(TERNZIP_X86)
extern const ScanKernels kScanAvx2;
extern const ScanKernels kScanAvx512;
#endif

}  // namespace ternzip
