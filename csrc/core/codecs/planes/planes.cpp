#include "core/codecs/planes/planes.hpp"

#include <algorithm>
#include <stdexcept>

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

void split_planes(const std::uint8_t* src, std::size_t count, unsigned width, bool rotate,
                  std::uint8_t* dst) {
  switch (width) {
    case 1: return split<std::uint8_t>(src, count, rotate, dst);
    case 2: return split<std::uint16_t>(src, count, rotate, dst);
    case 4: return split<std::uint32_t>(src, count, rotate, dst);
    case 8: return split<std::uint64_t>(src, count, rotate, dst);
    default: throw std::invalid_argument("split_planes: width must be 1, 2, 4 or 8");
  }
}

void merge_planes(const std::uint8_t* src, std::size_t count, unsigned width, bool rotate,
                  std::uint8_t* dst) {
  switch (width) {
    case 1: return merge<std::uint8_t>(src, count, rotate, dst);
    case 2: return merge<std::uint16_t>(src, count, rotate, dst);
    case 4: return merge<std::uint32_t>(src, count, rotate, dst);
    case 8: return merge<std::uint64_t>(src, count, rotate, dst);
    default: throw std::invalid_argument("merge_planes: width must be 1, 2, 4 or 8");
  }
}

}  // namespace ternzip
