// Little-endian loads and stores that are independent of the host's byte order and alignment.
#pragma once

#include <cstddef>
#include <cstdint>
#include <type_traits>

namespace ternzip {

// Compilers turn these loops into single moves on little-endian hosts.
template <class UInt>
inline UInt load_le(const std::uint8_t* bytes) noexcept {
  static_assert(std::is_unsigned_v<UInt>);
  UInt value = 0;
  for (std::size_t i = 0; i < sizeof(UInt); ++i) {
    value = static_cast<UInt>(value | static_cast<UInt>(static_cast<UInt>(bytes[i]) << (8 * i)));
  }
  return value;
}

template <class UInt>
inline void store_le(std::uint8_t* bytes, UInt value) noexcept {
  static_assert(std::is_unsigned_v<UInt>);
  for (std::size_t i = 0; i < sizeof(UInt); ++i) {
    bytes[i] = static_cast<std::uint8_t>(value >> (8 * i));
  }
}

}  // namespace ternzip
