// Element types by their codes in a file (docs/FORMAT.md, section 3). Those that may be ternary come first,
// with the codes of core/tensor/dtype.hpp.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

namespace ternzip::container {

struct ElementType {
  const char* name;
  std::uint8_t size;         // bytes
  std::uint8_t plane_width;  // bytes of the parts whose byte planes are split: half of a complex element
};

inline constexpr std::array<ElementType, 22> kElementTypes{{
    {"float64", 8, 8},
    {"float32", 4, 4},
    {"float16", 2, 2},
    {"bfloat16", 2, 2},
    {"float8_e4m3fn", 1, 1},
    {"float8_e5m2", 1, 1},
    {"float8_e4m3fnuz", 1, 1},
    {"float8_e5m2fnuz", 1, 1},
    {"int8", 1, 1},
    {"int16", 2, 2},
    {"int32", 4, 4},
    {"int64", 8, 8},
    {"uint8", 1, 1},
    {"uint16", 2, 2},
    {"uint32", 4, 4},
    {"uint64", 8, 8},
    {"bool", 1, 1},
    {"complex32", 4, 2},
    {"complex64", 8, 4},
    {"complex128", 16, 8},
    {"float8_e8m0fnu", 1, 1},
    {"float4_e2m1fn_x2", 1, 1},
}};
inline constexpr std::uint8_t kTernaryTypes = 12;  // codes below it

}  // namespace ternzip::container
