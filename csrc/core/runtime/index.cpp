#include "core/runtime/index.hpp"

#include <algorithm>
#include <initializer_list>

namespace ternzip {
namespace {

// Calls visit(list, first trit of the block's stretch of that row, its length) in the order of the lists;
// `list` is the row's plus list, the next its minus list.
template <class Visit>
void for_each_stretch(const IndexShape& shape, const Visit& visit) {
  const std::size_t row_size = shape.channels * shape.taps;
  std::size_t list = 0;
  for (std::size_t group = 0; group < shape.groups; ++group) {
    for (std::size_t first = 0; first < shape.channels; first += shape.block_channels) {
      const std::size_t size = std::min(shape.block_channels, shape.channels - first) * shape.taps;
      for (std::size_t r = 0; r < shape.group_rows(); ++r, list += 2) {
        const std::size_t row = group * shape.group_rows() + r;
        visit(list, row * row_size + first * shape.taps, size);
      }
    }
  }
}

}  // namespace

bool is_valid_shape(const IndexShape& shape) noexcept {
  constexpr std::size_t kMost = (std::size_t{1} << 31) - 1;
  for (const std::size_t n : {shape.rows, shape.groups, shape.channels, shape.taps, shape.block_channels}) {
    if (n == 0 || n > kMost) return false;
  }
  return shape.rows % shape.groups == 0 && shape.block_channels <= kMaxBlockCodes / shape.taps &&
         shape.channels <= kMost / shape.taps && shape.rows <= kMost / (shape.channels * shape.taps);
}

void build_index(const std::int8_t* trits, const IndexShape& shape, std::uint16_t* codes,
                 std::uint32_t* starts) noexcept {
  std::uint32_t n = 0;
  for_each_stretch(shape, [&](std::size_t list, std::size_t first, std::size_t size) {
    for (const bool plus : {true, false}) {
      starts[list + (plus ? 0 : 1)] = n;
      for (std::size_t i = 0; i < size; ++i) {
        const std::int8_t trit = trits[first + i];
        if (plus ? trit > 0 : trit < 0) codes[n++] = static_cast<std::uint16_t>(i);
      }
    }
  });
  starts[shape.lists()] = n;
}

bool is_valid_index(const std::uint16_t* codes, std::size_t n_codes, const std::uint32_t* starts,
                    const IndexShape& shape) noexcept {
  if (starts[0] != 0 || starts[shape.lists()] != n_codes) return false;
  if (!std::is_sorted(starts, starts + shape.lists() + 1)) return false;
  bool valid = true;
  for_each_stretch(shape, [&](std::size_t list, std::size_t, std::size_t size) {
    for (std::size_t l = list; l < list + 2; ++l) {
      for (std::uint32_t i = starts[l]; i < starts[l + 1]; ++i) {
        valid = valid && codes[i] < size && (i == starts[l] || codes[i - 1] < codes[i]);
      }
    }
    // Both lists ascend, or the answer is no already.
    std::uint32_t plus = starts[list], minus = starts[list + 1];
    while (valid && plus < starts[list + 1] && minus < starts[list + 2]) {
      valid = codes[plus] != codes[minus];
      codes[plus] < codes[minus] ? ++plus : ++minus;
    }
  });
  return valid;
}

void read_index(const std::uint16_t* codes, const std::uint32_t* starts, const IndexShape& shape,
                std::int8_t* trits) noexcept {
  std::fill_n(trits, shape.rows * shape.channels * shape.taps, std::int8_t{0});
  for_each_stretch(shape, [&](std::size_t list, std::size_t first, std::size_t) {
    for (std::uint32_t i = starts[list]; i < starts[list + 1]; ++i) trits[first + codes[i]] = 1;
    for (std::uint32_t i = starts[list + 1]; i < starts[list + 2]; ++i) trits[first + codes[i]] = -1;
  });
}

}  // namespace ternzip
