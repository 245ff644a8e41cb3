#include "core/container/ternary_parameters.hpp"

#include <algorithm>
#include <cstring>

#include "core/container/levels.hpp"
#include "core/tensor/dtype.hpp"
#include "core/tensor/patterns.hpp"

namespace ternzip::container {
namespace {

enum Flags : unsigned { kNegative = 1, kPositive = 2, kSymmetric = 4, kBlocks = 8 };
constexpr unsigned kSignsShift = 4;
enum Signs : unsigned { kAllPlus = 0, kAllMinus = 1, kBoth = 2 };

Grid read_grid(Cursor& cursor, const Geometry& geometry) {
  const std::uint64_t rows = geometry.rows, row_size = geometry.row_size();
  const std::uint64_t height = cursor.varint("rows of a block of levels", rows - 1);
  const std::uint64_t width = cursor.varint("elements of a block of levels", row_size - 1);
  const Grid grid{rows, row_size, height == 0 ? rows : height, width == 0 ? row_size : width};
  const std::uint64_t most = geometry.symbols() / kMinLevelBlockElements, blocks = grid.blocks();
  if (blocks < 2 || blocks > most) {
    cursor.fail(join("levels: expected 2 to ", most, " blocks, found ", blocks, " of ", grid.height, " x ",
                     grid.width, " elements"));
  }
  return grid;
}

void read_levels(Cursor& cursor, std::uint8_t dtype, const StoredLevels& stored, Ternary& ternary) {
  const std::size_t width = kElementTypes[dtype].size;
  Levels levels{std::vector<std::uint8_t>(width), std::vector<std::uint8_t>(width)};
  if (stored.negative) std::memcpy(levels.negative.data(), cursor.take(width, "levels"), width);
  if (stored.positive && !stored.symmetric) {
    std::memcpy(levels.positive.data(), cursor.take(width, "levels"), width);
  }
  try {
    complete_levels(dtype, stored, levels);
  } catch (const FileError& error) {
    cursor.fail(error.what());
  }
  ternary.negative_level = load_pattern(levels.negative.data(), 0, width);
  ternary.positive_level = load_pattern(levels.positive.data(), 0, width);
}

CodecUse read_codec(Cursor& cursor, CodecParameters& parameters) {
  const std::uint8_t code = cursor.byte("codec");
  return {true, code, parameters.read_number(cursor)};
}

// Refuses flags that contradict each other or the type.
void check_flags(const Cursor& cursor, unsigned flags, std::uint8_t dtype) {
  const unsigned signs = flags >> kSignsShift;
  if (signs > kBoth)
    cursor.fail(join("flags: expected reserved bits of zero, found ", hexadecimal(flags, 2)));
  Format format{};
  format_of(dtype, format);
  if (signs != kAllPlus && format.negative_zero == 0) {
    cursor.fail(
        join("flags: ", kElementTypes[dtype].name, " has no negative zero, found ", hexadecimal(flags, 2)));
  }
  if ((flags & kBlocks) != 0 && (flags & (kNegative | kPositive)) == 0) {
    cursor.fail("flags: blocks of levels need a level");
  }
  if ((flags & kSymmetric) != 0 && (flags & (kNegative | kPositive)) != (kNegative | kPositive)) {
    cursor.fail("flags: symmetric levels need both levels");
  }
}

}  // namespace

std::size_t CodecParameters::read_number(Cursor& cursor) {
  const std::size_t most = std::min(used_ + 1, strings_.size());
  const auto number = static_cast<std::size_t>(cursor.varint("number of codec parameters", most));
  used_ = std::max(used_, number);
  return number;
}

void CodecParameters::check(const Cursor& cursor) const {
  if (used_ < strings_.size()) {
    cursor.fail(join("codec parameters: expected each of ", strings_.size(), " strings used, found ", used_));
  }
  std::vector<std::string_view> sorted = strings_;
  std::sort(sorted.begin(), sorted.end());
  if (std::adjacent_find(sorted.begin(), sorted.end()) != sorted.end()) {
    cursor.fail("codec parameters: expected each string once");
  }
}

Ternary read_ternary(Cursor& cursor, std::uint8_t dtype, const std::vector<std::uint64_t>& shape,
                     CodecParameters& parameters) {
  Ternary ternary;
  ternary.geometry = geometry_of(shape);
  const std::uint64_t size = ternary.geometry.symbols();
  if (dtype >= kTernaryTypes || size == 0) {
    cursor.fail(join("expected a non-empty tensor of a signed type, found ", kElementTypes[dtype].name, " ",
                     listed(shape.data(), shape.size())));
  }
  const unsigned flags = cursor.byte("flags");
  check_flags(cursor, flags, dtype);
  const StoredLevels stored{(flags & kNegative) != 0, (flags & kPositive) != 0, (flags & kSymmetric) != 0};
  ternary.is_symmetric = stored.symmetric;
  if ((flags & kBlocks) != 0) {
    ternary.grid = read_grid(cursor, ternary.geometry);
  } else {
    const std::uint64_t rows = ternary.geometry.rows, row_size = ternary.geometry.row_size();
    ternary.grid = {rows, row_size, rows, row_size};
    read_levels(cursor, dtype, stored, ternary);
  }

  TritCounts& counts = ternary.counts;
  if (stored.negative) counts.negative = cursor.varint("count of negatives", size);
  if (stored.positive) counts.positive = cursor.varint("count of positives", size - counts.negative);
  if ((stored.negative && counts.negative == 0) || (stored.positive && counts.positive == 0)) {
    cursor.fail("counts: expected at least one symbol for each level");
  }
  counts.zero = size - counts.negative - counts.positive;
  const unsigned signs = flags >> kSignsShift;
  if (signs != kAllPlus && counts.zero == 0) {
    cursor.fail("flags: expected no signs of zeros in a tensor without zeros");
  }
  if ((counts.negative != 0) + (counts.zero != 0) + (counts.positive != 0) >= 2) {
    ternary.symbols = read_codec(cursor, parameters);
  }
  if (signs == kAllMinus) ternary.negative_zeros = counts.zero;
  if (signs == kBoth) {
    ternary.negative_zeros = cursor.varint("count of negative zeros", counts.zero - 1);
    if (ternary.negative_zeros == 0) cursor.fail("count of negative zeros: expected at least 1, found 0");
    ternary.signs = read_codec(cursor, parameters);
  }
  return ternary;
}

}  // namespace ternzip::container
