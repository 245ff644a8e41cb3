#include "core/codecs/planes/planes.hpp"

#include <algorithm>

#include "core/base/bytes.hpp"

namespace ternzip {
namespace {

// Elements are handled in blocks so that the strided side of the shuffle stays in the first cache level.
constexpr std::size_t kBlock = 4096;

template <class UInt>
UInt rotate_left(UInt value) noexcept {
  return static_cast<UInt>(static_cast<UInt>(value << 1) | (value >> (8 * sizeof(UInt) - 1)));
}

template <class UInt>
UInt rotate_right(UInt value) noexcept {
  return static_cast<UInt>((value >> 1) | static_cast<UInt>(value << (8 * sizeof(UInt) - 1)));
}

template <class UInt>
void split(const std::uint8_t* src, std::size_t count, bool rotate, std::uint8_t* dst) noexcept {
  for (std::size_t start = 0; start < count; start += kBlock) {
    const std::size_t end = std::min(count, start + kBlock);
    for (std::size_t plane = 0; plane < sizeof(UInt); ++plane) {
      std::uint8_t* out = dst + plane * count;
      for (std::size_t i = start; i < end; ++i) {
        const UInt raw = load_le<UInt>(src + i * sizeof(UInt));
        out[i] = static_cast<std::uint8_t>((rotate ? rotate_left(raw) : raw) >> (8 * plane));
      }
    }
  }
}

template <class UInt>
void merge(const std::uint8_t* src, std::size_t count, bool rotate, std::uint8_t* dst) noexcept {
  for (std::size_t i = 0; i < count; ++i) {
    UInt value = 0;
    for (std::size_t plane = 0; plane < sizeof(UInt); ++plane) {
      value = static_cast<UInt>(value |
                                static_cast<UInt>(static_cast<UInt>(src[plane * count + i]) << (8 * plane)));
    }
    store_le<UInt>(dst + i * sizeof(UInt), rotate ? rotate_right(value) : value);
  }
}

}  // namespace

bool split_planes(const std::uint8_t* src, std::size_t count, unsigned width, bool rotate,
                  std::uint8_t* dst) noexcept {
  switch (width) {
    case 1: split<std::uint8_t>(src, count, rotate, dst); return true;
    case 2: split<std::uint16_t>(src, count, rotate, dst); return true;
    case 4: split<std::uint32_t>(src, count, rotate, dst); return true;
    case 8: split<std::uint64_t>(src, count, rotate, dst); return true;
    default: return false;
  }
}

bool merge_planes(const std::uint8_t* src, std::size_t count, unsigned width, bool rotate,
                  std::uint8_t* dst) noexcept {
  switch (width) {
    case 1: merge<std::uint8_t>(src, count, rotate, dst); return true;
    case 2: merge<std::uint16_t>(src, count, rotate, dst); return true;
    case 4: merge<std::uint32_t>(src, count, rotate, dst); return true;
    case 8: merge<std::uint64_t>(src, count, rotate, dst); return true;
    default: return false;
  }
}

}  // namespace ternzip
