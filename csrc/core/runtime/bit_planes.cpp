#include "core/runtime/bit_planes.hpp"

#include <algorithm>
#include <initializer_list>

namespace ternzip {
namespace {

// Calls visit(trit number, word of the mask, bit) for every trit; that of the signs is kPlaneRows behind.
template <class Visit>
void for_each_trit(const PlaneShape& shape, const Visit& visit) {
  for (std::size_t row = 0; row < shape.rows; ++row) {
    const std::size_t group = row / shape.group_rows(), of_group = row % shape.group_rows();
    const std::size_t tile = group * shape.tiles() + of_group / kPlaneRows;
    for (std::size_t channel = 0; channel < shape.channels; ++channel) {
      for (std::size_t tap = 0; tap < shape.taps; ++tap) {
        const std::size_t word = tap * shape.words() + channel / kPlaneChannels;
        visit((row * shape.channels + channel) * shape.taps + tap,
              tile * shape.tile_size() + word * 2 * kPlaneRows + of_group % kPlaneRows,
              channel % kPlaneChannels);
      }
    }
  }
}

}  // namespace

bool is_valid_planes_shape(const PlaneShape& shape) noexcept {
  constexpr std::size_t kMost = std::size_t{1} << 30;
  for (const std::size_t n : {shape.rows, shape.groups, shape.channels, shape.taps}) {
    if (n == 0 || n > kMost) return false;
  }
  if (shape.rows % shape.groups != 0 || shape.channels >= kMost / shape.taps) return false;
  return static_cast<double>(shape.groups * shape.tiles()) * static_cast<double>(shape.tile_size()) < 0x1p36;
}

void build_planes(const std::int8_t* trits, const PlaneShape& shape, std::uint32_t* planes) noexcept {
  std::fill_n(planes, shape.size(), std::uint32_t{0});
  for_each_trit(shape, [&](std::size_t trit, std::size_t word, std::size_t bit) {
    planes[word] |= std::uint32_t{trits[trit] != 0} << bit;
    planes[word + kPlaneRows] |= std::uint32_t{trits[trit] < 0} << bit;
  });
}

void read_planes(const std::uint32_t* planes, const PlaneShape& shape, std::int8_t* trits) noexcept {
  for_each_trit(shape, [&](std::size_t trit, std::size_t word, std::size_t bit) {
    const bool negative = (planes[word + kPlaneRows] >> bit & 1u) != 0;
    trits[trit] = static_cast<std::int8_t>((planes[word] >> bit & 1u) == 0 ? 0 : negative ? -1 : 1);
  });
}

}  // namespace ternzip
