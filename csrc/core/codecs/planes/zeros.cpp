#include "core/codecs/planes/zeros.hpp"

#include <bit>

#include "core/base/bytes.hpp"
#include "core/codecs/planes/kernels.hpp"

namespace ternzip {

std::size_t split_zeros(const std::uint8_t* plane, std::size_t size, std::uint8_t* bitmap,
                        std::uint8_t* rest) noexcept {
  const std::size_t groups = size / 8;
  std::uint8_t* next = planes::encoding_kernels().split_zeros(plane, groups, bitmap, rest);
  if (size % 8 != 0) bitmap[groups] = 0;
  for (std::size_t i = 8 * groups; i < size; ++i) {
    if (plane[i] == 0) continue;
    bitmap[groups] = static_cast<std::uint8_t>(bitmap[groups] | 1u << (i % 8));
    *next++ = plane[i];
  }
  return static_cast<std::size_t>(next - rest);
}

bool count_bitmap(const std::uint8_t* bitmap, std::size_t size, std::size_t& ones) noexcept {
  ones = 0;
  const std::size_t bytes = (size + 7) / 8;
  std::size_t i = 0;
  for (; i + 8 <= bytes; i += 8) {
    ones += static_cast<std::size_t>(std::popcount(load_le<std::uint64_t>(bitmap + i)));
  }
  for (; i < bytes; ++i) ones += static_cast<std::size_t>(std::popcount(bitmap[i]));
  return size % 8 == 0 || bitmap[bytes - 1] >> (size % 8) == 0;
}

bool merge_zeros(const std::uint8_t* bitmap, const std::uint8_t* rest, std::size_t ones, std::size_t size,
                 std::uint8_t* plane) noexcept {
  const std::uint8_t *next = rest, *const end = rest + ones;
  const std::size_t done = planes::decoding_kernels().merge_zeros(bitmap, size / 8, &next, end, plane);
  for (std::size_t i = 8 * done; i < size; ++i) {
    const bool is_one = (bitmap[i / 8] >> (i % 8) & 1u) != 0;
    if (is_one && next == end) return false;
    plane[i] = is_one ? *next++ : std::uint8_t{0};
  }
  return next == end;
}

}  // namespace ternzip
