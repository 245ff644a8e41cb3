// Which weights count as a weight's neighbours, and how they are looked up.
#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "core/codecs/context/context.hpp"
#include "core/codecs/context/window.hpp"

namespace ternzip::context {

// How a weight's earlier neighbours are looked up. A kernel of up to nine weights has one pattern for every
// place and history (a binary tree); a larger one a near and a far pattern; a matrix is a plane itself.
enum class Shape { kTree, kPlane, kLine };
inline constexpr std::size_t kShapes = 3;
inline constexpr std::size_t kTreeKernel = 9;
inline Shape shape_of(std::size_t kernel) noexcept {
  return kernel == 1 ? Shape::kLine : kernel <= kTreeKernel ? Shape::kTree : Shape::kPlane;
}

// Weights are coded in groups, during which most coefficients stand still: a kernel, or neighbours in a row
// of a matrix.
inline constexpr std::size_t kLineGroup = 16;
inline std::size_t group_of(std::size_t kernel) noexcept { return kernel == 1 ? kLineGroup : kernel; }

// Where a weight is in its row: a column, and its place in the column's kernel. For a tree the place is a
// node: a one followed by the flags of the earlier places.
class Position {
 public:
  Position() = default;
  Position(std::size_t column, std::uint64_t place) noexcept : packed_(std::uint64_t{column} << 32 | place) {}
  std::uint32_t column() const noexcept { return static_cast<std::uint32_t>(packed_ >> 32); }
  std::uint32_t place() const noexcept { return static_cast<std::uint32_t>(packed_); }

 private:
  std::uint64_t packed_;
};

template <Shape kShape>
inline std::uint32_t place_in_kernel(Position at) noexcept {
  return kShape == Shape::kTree ? static_cast<std::uint32_t>(std::bit_width(at.place())) - 1 : at.place();
}

// The window's lanes that are set, one bit each.
struct Pattern {
  std::uint32_t near_lanes = 0, far_lanes = 0;
  friend Pattern operator^(Pattern a, Pattern b) noexcept {
    return {a.near_lanes ^ b.near_lanes, a.far_lanes ^ b.far_lanes};
  }
};

// At most four places of a kernel.
class AdjacentPlaces {
 public:
  void add(std::size_t place) noexcept { places_[count_++] = place; }
  const std::size_t* begin() const noexcept { return places_.data(); }
  const std::size_t* end() const noexcept { return places_.data() + count_; }

 private:
  std::array<std::size_t, 4> places_{};
  std::size_t count_ = 0;
};

// The lanes inside a kernel. Squares and cubes of up to 30 have a plane of that width; any other is one row.
// Bit d of a history is the weight d places back.
class KernelPlane {
 public:
  explicit KernelPlane(std::size_t kernel) : near_(kernel), far_(kernel) {
    for (std::size_t w = 2; w <= 30; ++w) {
      if (w * w == kernel || (w * w * w == kernel && width_ == 0)) width_ = w;
    }
    near_shift_ = width_ ? static_cast<unsigned>(width_ - 2) : 0;
    far_shift_ = width_ ? static_cast<unsigned>(2 * width_ - 2) : 0;
    for (std::size_t k = 0; k < kernel; ++k) {
      const std::size_t x = width_ ? k % width_ : k, y = width_ ? k / width_ : 0;
      unsigned above = 0;  // which of the columns x + 2 ... x - 2 exist
      for (std::size_t j = 0; j < 5; ++j) above |= (x + 2 - j < width_ ? 1U : 0U) << j;
      near_[k] =
          static_cast<std::uint8_t>((x >= 1 ? 1U : 0U) | (x >= 2 ? 2U : 0U) | (y >= 1 ? above << 2 : 0));
      far_[k] = static_cast<std::uint8_t>(y >= 2 ? above : 0);
    }
    for (std::size_t k = 0; k < std::min(kernel, kTreeKernel); ++k) {
      for (std::size_t b = 0; b < k; ++b) {
        lanes_[k][b] = static_cast<std::uint8_t>(lane_between(k, k - 1 - b));
      }
    }
  }

  Pattern pattern(std::uint64_t history, std::size_t k) const noexcept {
    const std::uint32_t back = static_cast<std::uint32_t>(history >> 1) & 3;
    return {(back | (static_cast<std::uint32_t>(history >> near_shift_) & 31) << 2) & near_[k],
            static_cast<std::uint32_t>(history >> far_shift_) & far_[k]};
  }

  // How many of the weight before and the one above lie inside the kernel.
  std::int64_t closest(std::size_t k) const noexcept { return (near_[k] & 1) + (near_[k] >> 4 & 1); }

  // The places before, after, above and below place k, as far as they exist.
  AdjacentPlaces adjacent(std::size_t k) const noexcept {
    const std::size_t kernel = near_.size(), width = width_ ? width_ : kernel;
    AdjacentPlaces places;
    if (k % width > 0) places.add(k - 1);
    if (k % width + 1 < width) places.add(k + 1);
    if (k >= width) places.add(k - width);
    if (k + width < kernel) places.add(k + width);
    return places;
  }

  // Of a tree: the lane in which place k sees place k - 1 - b, or none: kWindowLanes.
  std::size_t lane(std::size_t k, std::size_t b) const noexcept { return lanes_[k][b]; }

 private:
  std::size_t lane_between(std::size_t k, std::size_t q) const noexcept {
    if (width_ == 0 || k / width_ == q / width_) return k - q <= 2 ? k - q - 1 : kWindowLanes;
    const std::size_t up = k / width_ - q / width_, column = k % width_ + 2 - q % width_;
    return up <= 2 && column < 5 ? 5 * up - 3 + column : kWindowLanes;
  }

  std::size_t width_ = 0;
  unsigned near_shift_ = 0, far_shift_ = 0;
  std::vector<std::uint8_t> near_, far_;  // the lanes that exist
  std::array<std::array<std::uint8_t, kTreeKernel>, kTreeKernel> lanes_{};
};

// The lanes of a matrix: one property of the weights, as seen from the row below and the one after that. Bits
// 2 to 6 are the columns x + 2 ... x - 2 of the row above, bits 7 to 11 those of the one above it.
class RowsAbove {
 public:
  explicit RowsAbove(std::size_t cols) : lanes_(cols), row_(cols + 4) {}

  Pattern pattern(std::uint64_t history, std::size_t column) const noexcept {
    const std::uint32_t back = static_cast<std::uint32_t>(history >> 1) & 3, above = lanes_[column];
    return {back | (above & 127), above >> 7};
  }

  template <class Has>
  void end_row(const std::int8_t* trits, Has has) noexcept {
    for (std::size_t x = 0; x < lanes_.size(); ++x) row_[x + 2] = has(trits[x]) ? 1 : 0;
    for (std::size_t x = 0; x < lanes_.size(); ++x) {
      unsigned lanes = (lanes_[x] & 124U) << 5;
      for (std::size_t j = 0; j < 5; ++j) lanes |= static_cast<unsigned>(row_[x + 4 - j]) << (2 + j);
      lanes_[x] = static_cast<std::uint16_t>(lanes);
    }
  }

 private:
  std::vector<std::uint16_t> lanes_;
  std::vector<std::uint8_t> row_;  // with two columns more on either side
};

struct Neighbours {
  KernelPlane kernel;
  RowsAbove nonzero, negative;  // of a matrix

  explicit Neighbours(const Geometry& g)
      : kernel(g.kernel), nonzero(g.kernel == 1 ? g.cols : 0), negative(g.kernel == 1 ? g.cols : 0) {}
};

// Sums of a window's lanes for every pattern, and the gradients met under each: a weight costs look-ups, and
// the coefficients move once in a while. The pattern of a tree is a node, in `near_lanes`.
template <Shape kShape>
class WindowSums {
 public:
  std::int32_t sum(Pattern p) const noexcept { return near_.sum(p.near_lanes) + far_.sum(p.far_lanes); }
  void add(Pattern p, std::int32_t gradient) noexcept {
    near_.add(p.near_lanes, gradient);
    far_.add(p.far_lanes, gradient);
  }
  void fill(const Window& window) noexcept {
    near_.fill(0, kNear, 0, [&](std::size_t b) { return window.lane(b); });
    far_.fill(0, kFar, 0, [&](std::size_t b) { return window.lane(kNear + b); });
  }
  void fold(WindowGradients& lanes) noexcept {
    near_.fold(0, kNear, [&](std::size_t b, std::int32_t sum) { lanes[b] = sum; });
    far_.fold(0, kFar, [&](std::size_t b, std::int32_t sum) { lanes[kNear + b] = sum; });
  }

 private:
  PatternTable<kNear> near_;
  PatternTable<kFar> far_;
};

template <>
class WindowSums<Shape::kTree> {
 public:
  std::int32_t sum(Pattern p) const noexcept { return tree_.sum(p.near_lanes); }
  void add(Pattern p, std::int32_t gradient) noexcept { tree_.add(p.near_lanes, gradient); }

  // Place k starts with start(k); its bit b, which stands for place k - 1 - b, adds more(k, b) to its lane.
  template <class Start, class More>
  void fill(const Window& window, const KernelPlane& kernel, std::size_t size, Start start,
            More more) noexcept {
    for (std::size_t k = 0; k < size; ++k) {
      tree_.fill(std::size_t{1} << k, k, start(k),
                 [&](std::size_t b) { return window.lane(kernel.lane(k, b)) + more(k, b); });
    }
  }
  // Hands place(k, sum) and pair(k, b, sum) the gradients.
  template <class Place, class Pair>
  void fold(WindowGradients& lanes, const KernelPlane& kernel, std::size_t size, Place place,
            Pair pair) noexcept {
    for (std::size_t k = 0; k < size; ++k) {
      place(k, tree_.fold(std::size_t{1} << k, k, [&](std::size_t b, std::int32_t sum) {
        lanes[kernel.lane(k, b)] += sum;
        pair(k, b, sum);
      }));
    }
  }

 private:
  PatternTable<kTreeKernel> tree_;
};

}  // namespace ternzip::context
