// Which weights of a ternary layer are not zero: lists of codes, one for each row and sign.
//
// A layer has `rows` output channels in `groups` equal groups, each over `channels` input channels, and
// `taps` weights a channel (kernel height times width). The channels of a group are cut into blocks of
// `block_channels`, the last maybe smaller, so that what a block reads stays in the first cache; codes count
// from a block's start:
//   code = channel within the block * taps + tap.
// Lists are laid end to end in the order (group, block, row of the group, plus before minus), each ascending.
#pragma once

#include <cstddef>
#include <cstdint>

namespace ternzip {

// The most codes of a block: they fit an int16 too.
inline constexpr std::size_t kMaxBlockCodes = std::size_t{1} << 15;

struct IndexShape {
  std::size_t rows;
  std::size_t groups;
  std::size_t channels;  // of a group
  std::size_t taps;
  std::size_t block_channels;

  std::size_t blocks() const noexcept { return (channels + block_channels - 1) / block_channels; }
  std::size_t group_rows() const noexcept { return rows / groups; }
  std::size_t lists() const noexcept { return 2 * rows * blocks(); }
};

// Whether every number is positive, the groups divide the rows, a block's codes are at most kMaxBlockCodes,
// and the trits fewer than 2^31, so that nothing computed from them overflows.
bool is_valid_shape(const IndexShape& shape) noexcept;

// Lists of int8 trits (rows, channels, taps): codes[number of trits that are not 0], starts[shape.lists() +
// 1]. A trit counts by its sign.
void build_index(const std::int8_t* trits, const IndexShape& shape, std::uint16_t* codes,
                 std::uint32_t* starts) noexcept;

// Whether lists are those of some trits: starts ascend from 0 to n_codes, each list's codes ascend within its
// block, and none is in the plus and the minus list of a row.
bool is_valid_index(const std::uint16_t* codes, std::size_t n_codes, const std::uint32_t* starts,
                    const IndexShape& shape) noexcept;

// The trits of a valid index.
void read_index(const std::uint16_t* codes, const std::uint32_t* starts, const IndexShape& shape,
                std::int8_t* trits) noexcept;

}  // namespace ternzip
