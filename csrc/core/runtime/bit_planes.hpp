// Trits of a layer's weights and inputs as bit planes, 32 channels a word.
//
// Of each word there are two, side by side: the mask, whose bits are 1 where the trit is not zero, and the
// signs, whose bits are 1 where it is negative. Bits of channels that do not exist are 0 in both.
#pragma once

#include <cstddef>
#include <cstdint>

namespace ternzip {

inline constexpr std::size_t kPlaneChannels = 32;
inline constexpr std::size_t kPlaneRows = 16;

// A layer has `rows` output channels in `groups` equal groups, each over `channels` input channels, and
// `taps` weights a channel. Planes of weights lie as
//   [groups][ceil(rows of a group / 16)][taps][ceil(channels / 32)][mask, signs][16 rows];
// those of rows that do not exist are 0.
struct PlaneShape {
  std::size_t rows;
  std::size_t groups;
  std::size_t channels;  // of a group
  std::size_t taps;

  std::size_t group_rows() const noexcept { return rows / groups; }
  std::size_t tiles() const noexcept { return (group_rows() + kPlaneRows - 1) / kPlaneRows; }  // of a group
  std::size_t words() const noexcept { return (channels + kPlaneChannels - 1) / kPlaneChannels; }
  std::size_t tile_size() const noexcept { return taps * words() * 2 * kPlaneRows; }
  std::size_t size() const noexcept { return groups * tiles() * tile_size(); }
};

// Whether every number is positive, the groups divide the rows, a row has fewer than 2^30 weights, and the
// planes fewer than 2^36 words.
bool is_valid_planes_shape(const PlaneShape& shape) noexcept;

// planes[shape.size()] of int8 trits (rows, channels, taps); a trit counts by its sign.
void build_planes(const std::int8_t* trits, const PlaneShape& shape, std::uint32_t* planes) noexcept;

// The trits of planes; a sign without a mask is a zero.
void read_planes(const std::uint32_t* planes, const PlaneShape& shape, std::int8_t* trits) noexcept;

}  // namespace ternzip
