// Element types by the codes that the bindings use, and how their bit patterns are read.
#pragma once

#include <cstddef>
#include <cstdint>

#include "core/base/compiler.hpp"

namespace ternzip {

enum class DType : int {
  kFloat64 = 0,
  kFloat32 = 1,
  kFloat16 = 2,
  kBFloat16 = 3,
  kFloat8E4M3FN = 4,
  kFloat8E5M2 = 5,
  kFloat8E4M3FNUZ = 6,
  kFloat8E5M2FNUZ = 7,
  kInt8 = 8,
  kInt16 = 9,
  kInt32 = 10,
  kInt64 = 11,
};

// What the kernels need to know of a dtype. Every type here keeps its sign in the top bit.
struct Format {
  std::size_t width;            // bytes
  std::uint64_t negative_zero;  // the second pattern that equals zero; 0 where there is none
  std::uint64_t magnitude;      // mask of the bits whose value tells a NaN; 0 for integers
  std::uint64_t largest;        // the largest masked value that is not a NaN: infinity where the type has one
  std::uint64_t extra_nan;      // one further NaN pattern (0x80 of the fnuz types), 0 where there is none
};

// False if `code` is none of the codes above.
TERNZIP_ELEMENT bool format_of(int code, Format& format) noexcept {
  switch (static_cast<DType>(code)) {
    case DType::kFloat64:
      format = {8, 0x8000000000000000u, 0x7fffffffffffffffu, 0x7ff0000000000000u, 0};
      return true;
    case DType::kFloat32: format = {4, 0x80000000u, 0x7fffffffu, 0x7f800000u, 0}; return true;
    case DType::kFloat16: format = {2, 0x8000u, 0x7fffu, 0x7c00u, 0}; return true;
    case DType::kBFloat16: format = {2, 0x8000u, 0x7fffu, 0x7f80u, 0}; return true;
    case DType::kFloat8E4M3FN: format = {1, 0x80u, 0x7fu, 0x7eu, 0}; return true;
    case DType::kFloat8E5M2: format = {1, 0x80u, 0x7fu, 0x7cu, 0}; return true;
    case DType::kFloat8E4M3FNUZ:
    case DType::kFloat8E5M2FNUZ: format = {1, 0, 0x7fu, 0x7fu, 0x80u}; return true;
    case DType::kInt8: format = {1, 0, 0, 0, 0}; return true;
    case DType::kInt16: format = {2, 0, 0, 0, 0}; return true;
    case DType::kInt32: format = {4, 0, 0, 0, 0}; return true;
    case DType::kInt64: format = {8, 0, 0, 0, 0}; return true;
  }
  return false;
}

TERNZIP_ELEMENT bool is_nan(const Format& format, std::uint64_t bits) noexcept {
  return (bits & format.magnitude) > format.largest || (format.extra_nan != 0 && bits == format.extra_nan);
}

TERNZIP_ELEMENT bool is_negative(const Format& format, std::uint64_t bits) noexcept {
  return (bits >> (8 * format.width - 1)) != 0;
}

}  // namespace ternzip
