// Scratch memory of kernels.
#pragma once

#include <cstddef>
#include <memory>
#include <new>

namespace ternzip {

// A cache line, and the widest vector: a load that crosses lines takes twice as long.
inline constexpr std::size_t kLineBytes = 64;
inline constexpr std::size_t kLineFloats = kLineBytes / sizeof(float);

constexpr std::size_t whole_lines(std::size_t floats) noexcept {
  return (floats + kLineFloats - 1) / kLineFloats * kLineFloats;
}

struct AlignedDelete {
  void operator()(float* p) const noexcept { ::operator delete[](p, std::align_val_t{kLineBytes}); }
};

// Starts at a cache line; not initialized.
using AlignedFloats = std::unique_ptr<float[], AlignedDelete>;

// Throws std::bad_alloc.
inline AlignedFloats aligned_floats(std::size_t n) {
  return AlignedFloats(
      static_cast<float*>(::operator new[](n * sizeof(float), std::align_val_t{kLineBytes})));
}

}  // namespace ternzip
