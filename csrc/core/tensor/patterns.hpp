// Elements of 1, 2, 4 or 8 bytes as bit patterns, at any address.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>

#include "core/tensor/dtype.hpp"

namespace ternzip {

// Where the kernels for elements of the format's width stand in their tables.
inline std::size_t width_index(const Format& format) noexcept {
  return static_cast<std::size_t>(std::countr_zero(format.width));
}

inline const unsigned char* element_at(const void* src, std::size_t index, std::size_t width) noexcept {
  return static_cast<const unsigned char*>(src) + index * width;
}
inline unsigned char* element_at(void* dst, std::size_t index, std::size_t width) noexcept {
  return static_cast<unsigned char*>(dst) + index * width;
}

template <class UInt>
std::uint64_t load_pattern(const void* src, std::size_t index) noexcept {
  UInt value;
  std::memcpy(&value, element_at(src, index, sizeof value), sizeof value);
  return value;
}

inline std::uint64_t load_pattern(const void* src, std::size_t index, std::size_t width) noexcept {
  switch (width) {
    case 1: return load_pattern<std::uint8_t>(src, index);
    case 2: return load_pattern<std::uint16_t>(src, index);
    case 4: return load_pattern<std::uint32_t>(src, index);
    default: return load_pattern<std::uint64_t>(src, index);
  }
}

template <class UInt>
void store_pattern(void* dst, std::size_t index, std::uint64_t bits) noexcept {
  const auto value = static_cast<UInt>(bits);
  std::memcpy(element_at(dst, index, sizeof value), &value, sizeof value);
}

inline void store_pattern(void* dst, std::size_t index, std::size_t width, std::uint64_t bits) noexcept {
  switch (width) {
    case 1: return store_pattern<std::uint8_t>(dst, index, bits);
    case 2: return store_pattern<std::uint16_t>(dst, index, bits);
    case 4: return store_pattern<std::uint32_t>(dst, index, bits);
    default: return store_pattern<std::uint64_t>(dst, index, bits);
  }
}

}  // namespace ternzip
