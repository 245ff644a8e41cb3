#include "core/tensor/block_levels.hpp"

#include <algorithm>
#include <array>
#include <atomic>
#include <cstring>
#include <limits>
#include <optional>
#include <utility>
#include <vector>

#include "core/base/parallel.hpp"
#include "core/tensor/patterns.hpp"
#include "core/tensor/scan_kernels.hpp"
#include "core/tensor/ternary_tensor.hpp"

namespace ternzip {
namespace {

constexpr std::size_t kSmallestWidth = 8;
constexpr std::size_t kMostBoundaries = 4096;  // of one row
constexpr std::size_t kSampledRows = 8;
constexpr int kMostPasses = 64;  // nearly all end in the row that shows a width to be wrong
constexpr std::size_t kParallelGrain = std::size_t{1} << 18;  // elements
constexpr std::size_t kNone = std::numeric_limits<std::size_t>::max();

struct Rows {
  const void* src;
  std::size_t count;
  std::size_t size;
  Format format;
  unsigned threads;

  const unsigned char* at(std::size_t row, std::size_t column = 0) const noexcept {
    return element_at(src, row * size + column, format.width);
  }
};

struct Totals {
  TritCounts counts;
  std::uint64_t negative_zeros = 0;

  void add(const PatternCounts& found) noexcept {
    counts.negative += found.negative;
    counts.zero += std::uint64_t{found.zero} + found.negative_zero;
    counts.positive += found.positive;
    negative_zeros += found.negative_zero;
  }
  void add(const Totals& other) noexcept {
    counts.negative += other.counts.negative;
    counts.zero += other.counts.zero;
    counts.positive += other.counts.positive;
    negative_zeros += other.negative_zeros;
  }
};

struct LevelArrays {
  LevelArrays(std::size_t blocks, std::size_t width)
      : negative(std::make_unique_for_overwrite<unsigned char[]>(blocks * width)),
        positive(std::make_unique_for_overwrite<unsigned char[]>(blocks * width)) {}
  std::unique_ptr<unsigned char[]> negative, positive;
};

bool any_nan(const Format& format, const unsigned char* levels, std::size_t n) noexcept {
  for (std::size_t i = 0; i < n; ++i) {
    if (is_nan(format, load_pattern(levels, i, format.width))) return true;
  }
  return false;
}

// Levels of consecutive elements in blocks of `width`, the last one maybe shorter.
bool levels_of_run(const unsigned char* src, std::size_t n, const Format& format, std::size_t width,
                   unsigned char* negative, unsigned char* positive) noexcept {
  const std::size_t whole = n / width, rest = n % width, blocks = whole + (rest != 0 ? 1 : 0);
  if (width > kScanBlock) {  // larger than the cache that the kernel counts on
    for (std::size_t block = 0; block < blocks; ++block) {
      const TernaryLevels found = detect_levels(element_at(src, block * width, format.width),
                                                std::min(width, n - block * width), format, 1);
      if (!found.is_ternary) return false;
      store_pattern(negative, block, format.width, found.negative_bits);
      store_pattern(positive, block, format.width, found.positive_bits);
    }
    return true;
  }
  const auto kernel = scan_kernels().block_levels[width_index(format)];
  if (kernel(src, whole, width, format.negative_zero, negative, positive) != whole) return false;
  if (rest != 0 &&
      kernel(element_at(src, whole * width, format.width), 1, rest, format.negative_zero,
             element_at(negative, whole, format.width), element_at(positive, whole, format.width)) != 1) {
    return false;
  }
  return !any_nan(format, negative, blocks) && !any_nan(format, positive, blocks);
}

void count_signs(const unsigned char* src, std::size_t n, const Format& format, Totals& totals) noexcept {
  const auto kernel = scan_kernels().count_signs[width_index(format)];
  for (std::size_t start = 0; start < n; start += kScanBlock) {
    totals.add(
        kernel(element_at(src, start, format.width), std::min(kScanBlock, n - start), format.negative_zero));
  }
}

// Levels and counts of all rows in blocks of `width`. Returns the first row that has a block of more than two
// levels or a NaN, and kNone if there is none.
std::size_t levels_of_rows(const Rows& rows, std::size_t width, LevelArrays& levels,
                           Totals& totals) noexcept {
  constexpr std::size_t kMaxParts = 64;
  const std::size_t per_row = LevelGrid{rows.size, 1, width}.blocks_per_row();
  std::array<Totals, kMaxParts> parts{};
  std::atomic<std::size_t> failed{kNone};
  const auto scan = [&](std::size_t begin, std::size_t end, std::size_t part) {
    // A part goes on until its own first failure or one before it, so that the first of all is found.
    for (std::size_t row = begin; row < end && row < failed.load(std::memory_order_relaxed); ++row) {
      const std::size_t block = row * per_row;
      if (!levels_of_run(rows.at(row), rows.size, rows.format, width,
                         element_at(levels.negative.get(), block, rows.format.width),
                         element_at(levels.positive.get(), block, rows.format.width))) {
        std::size_t before = failed.load(std::memory_order_relaxed);
        while (row < before && !failed.compare_exchange_weak(before, row, std::memory_order_relaxed)) {
        }
        return;
      }
      count_signs(rows.at(row), rows.size, rows.format, parts[part]);
    }
  };
  scan(0, 1, 0);  // turns most tensors down without a thread started
  if (failed == kNone) {
    parallel_for(
        rows.count - 1, std::max<std::size_t>(1, kParallelGrain / rows.size),
        std::min<unsigned>(rows.threads, kMaxParts),
        [&](std::size_t begin, std::size_t end, std::size_t part) { scan(begin + 1, end + 1, part); });
  }
  if (failed != kNone) return failed;
  for (const Totals& part : parts) totals.add(part);
  return kNone;
}

// Columns of two elements of a row that have one sign and different levels: a block must begin beyond the
// first and no later than at the second.
struct Boundary {
  std::size_t before;
  std::size_t at;

  bool allows(std::size_t width) const noexcept { return at - at % width > before; }
};

// What a row says about the width of blocks. False if no width of kSmallestWidth or more is possible.
template <class UInt>
bool find_boundaries(const unsigned char* row, std::size_t size, const Format& format,
                     std::vector<Boundary>& boundaries) {
  struct Last {
    std::uint64_t level = 0;
    std::size_t at = 0;
  };
  std::array<Last, 2> last;  // positive, negative
  std::size_t found = 0;
  for (std::size_t i = 0; i < size && found < kMostBoundaries; ++i) {
    const std::uint64_t bits = load_pattern<UInt>(row, i);
    if (bits == 0 || bits == format.negative_zero) continue;
    if (is_nan(format, bits)) return false;
    Last& same = last[is_negative(format, bits) ? 1 : 0];
    if (same.level != bits && same.level != 0) {
      boundaries.push_back({same.at, i});
      ++found;
      if (i < kSmallestWidth) return false;
    }
    same = {bits, i};
  }
  return true;
}

bool find_boundaries(const Rows& rows, std::size_t row, std::vector<Boundary>& boundaries) {
  const unsigned char* src = rows.at(row);
  switch (rows.format.width) {
    case 1: return find_boundaries<std::uint8_t>(src, rows.size, rows.format, boundaries);
    case 2: return find_boundaries<std::uint16_t>(src, rows.size, rows.format, boundaries);
    case 4: return find_boundaries<std::uint32_t>(src, rows.size, rows.format, boundaries);
    default: return find_boundaries<std::uint64_t>(src, rows.size, rows.format, boundaries);
  }
}

struct Found {
  std::size_t width;
  LevelArrays levels;
  Totals totals;
};

// The widest blocks of one row. Widths that give a row the same number of blocks are tried with the one first
// that divides the row.
std::optional<Found> find_width(const Rows& rows) {
  if (rows.size <= kSmallestWidth) return std::nullopt;
  std::vector<Boundary> boundaries;
  for (std::size_t i = 0; i < std::min(rows.count, kSampledRows); ++i) {
    if (!find_boundaries(rows, rows.count / std::min(rows.count, kSampledRows) * i, boundaries)) {
      return std::nullopt;
    }
  }
  std::size_t widest = rows.size - 1;
  for (const Boundary& boundary : boundaries) widest = std::min(widest, boundary.at);
  const auto allowed = [&](std::size_t width) {
    return std::all_of(boundaries.begin(), boundaries.end(),
                       [&](const Boundary& boundary) { return boundary.allows(width); });
  };
  int passes = 0;
  std::size_t failed = kNone;
  const auto attempt = [&](std::size_t width) -> std::optional<Found> {
    const std::size_t blocks = rows.count * LevelGrid{rows.size, 1, width}.blocks_per_row();
    Found found{width, LevelArrays(blocks, rows.format.width), {}};
    ++passes;
    failed = levels_of_rows(rows, width, found.levels, found.totals);
    if (failed == kNone) return found;
    return std::nullopt;
  };
  for (std::size_t width = widest; width >= kSmallestWidth && passes < kMostPasses; --width) {
    if (!allowed(width)) continue;
    const std::size_t per_row = LevelGrid{rows.size, 1, width}.blocks_per_row(), even = rows.size / per_row;
    if (rows.size % per_row == 0 && even != width && even >= kSmallestWidth && allowed(even)) {
      if (std::optional<Found> found = attempt(even)) return found;
      if (!find_boundaries(rows, failed, boundaries)) return std::nullopt;
      if (!allowed(width)) continue;
    }
    if (std::optional<Found> found = attempt(width)) return found;
    if (!find_boundaries(rows, failed, boundaries)) return std::nullopt;
  }
  return std::nullopt;
}

// Joins `from` to the levels at `to`; false where both have a level and differ.
template <class UInt>
bool join(unsigned char* to, const unsigned char* from, std::size_t n) noexcept {
  bool differs = false;
  for (std::size_t i = 0; i < n; ++i) {
    const std::uint64_t a = load_pattern<UInt>(to, i), b = load_pattern<UInt>(from, i);
    differs |= a != 0 && b != 0 && a != b;
    store_pattern<UInt>(to, i, a | b);  // one of them is 0, or they are the same
  }
  return !differs;
}

bool join(unsigned char* to, const unsigned char* from, std::size_t n, std::size_t width) noexcept {
  switch (width) {
    case 1: return join<std::uint8_t>(to, from, n);
    case 2: return join<std::uint16_t>(to, from, n);
    case 4: return join<std::uint32_t>(to, from, n);
    default: return join<std::uint64_t>(to, from, n);
  }
}

// Levels by blocks of `height` rows from those of single rows; false if rows contradict each other.
bool join_rows(const LevelArrays& levels, std::size_t rows, std::size_t row_bytes, std::size_t width,
               std::size_t height, LevelArrays& joined) noexcept {
  for (const auto part : {&LevelArrays::negative, &LevelArrays::positive}) {
    for (std::size_t row = 0; row < rows; ++row) {
      const unsigned char* from = (levels.*part).get() + row * row_bytes;
      unsigned char* to = (joined.*part).get() + row / height * row_bytes;
      if (row % height == 0) {
        std::memcpy(to, from, row_bytes);
      } else if (!join(to, from, row_bytes / width, width)) {
        return false;
      }
    }
  }
  return true;
}

// Heights worth a try, the largest first: even shares of the rows, powers of two, squares.
std::vector<std::size_t> heights(std::size_t rows, std::size_t width) {
  std::vector<std::size_t> result;
  for (std::size_t shares = 1; shares <= 16; ++shares) {
    if (rows % shares == 0) result.push_back(rows / shares);
  }
  for (std::size_t height = 2; height <= 4096; height *= 2) result.push_back(height);
  result.push_back(width);
  std::erase_if(result, [&](std::size_t height) { return height < 2 || height > rows; });
  std::sort(result.begin(), result.end(), std::greater<>());
  result.erase(std::unique(result.begin(), result.end()), result.end());
  return result;
}

BlockLevels with_joined_rows(const Rows& rows, Found found) {
  const std::size_t per_row = LevelGrid{rows.size, 1, found.width}.blocks_per_row();
  BlockLevels result;
  result.is_ternary = true;
  result.grid = {rows.size, 1, found.width};
  result.blocks = rows.count * per_row;
  result.counts = found.totals.counts;
  result.negative_zeros = found.totals.negative_zeros;
  for (const std::size_t height : heights(rows.count, found.width)) {
    const std::size_t bands = rows.count / height + (rows.count % height != 0 ? 1 : 0);
    LevelArrays joined(bands * per_row, rows.format.width);
    if (!join_rows(found.levels, rows.count, per_row * rows.format.width, rows.format.width, height,
                   joined)) {
      continue;
    }
    found.levels = std::move(joined);
    result.grid.height = height;
    result.blocks = bands * per_row;
    break;
  }
  result.negative = std::move(found.levels.negative);
  result.positive = std::move(found.levels.positive);
  return result;
}

BlockLevels one_block(const TernaryLevels& levels, std::size_t rows, std::size_t row_size,
                      const Format& format) {
  LevelArrays arrays(1, format.width);
  store_pattern(arrays.negative.get(), 0, format.width, levels.negative_bits);
  store_pattern(arrays.positive.get(), 0, format.width, levels.positive_bits);
  return {
      true,          {row_size, rows, row_size}, 1, std::move(arrays.negative), std::move(arrays.positive),
      levels.counts, levels.negative_zeros};
}

}  // namespace

BlockLevels detect_block_levels(const void* src, std::size_t rows, std::size_t row_size, const Format& format,
                                unsigned threads) {
  if (rows == 0 || row_size == 0) return {};
  const TernaryLevels levels = detect_levels(src, rows * row_size, format, threads);
  if (levels.is_ternary) return one_block(levels, rows, row_size, format);
  const Rows all{src, rows, row_size, format, threads};
  if (rows > 1 && row_size > 1) {
    Found found{row_size, LevelArrays(rows, format.width), {}};
    if (levels_of_rows(all, row_size, found.levels, found.totals) == kNone) {
      return with_joined_rows(all, std::move(found));
    }
  }
  std::optional<Found> found = find_width(all);
  return found ? with_joined_rows(all, std::move(*found)) : BlockLevels{};
}

}  // namespace ternzip
