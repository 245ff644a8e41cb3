#include "core/container/levels.hpp"

#include "core/container/error.hpp"
#include "core/tensor/dtype.hpp"
#include "core/tensor/patterns.hpp"

namespace ternzip::container {
namespace {

constexpr int kFirstInteger = static_cast<int>(DType::kInt8);

struct Type {
  std::size_t width;
  std::uint64_t sign;  // the highest bit alone
  bool is_float;
};

void check(const std::vector<std::uint8_t>& levels, const Type& type, bool negative) {
  bool any = false;
  for (std::size_t i = 0; i < levels.size() / type.width; ++i) {
    const std::uint64_t level = load_pattern(levels.data(), i, type.width);
    if (level == 0) continue;
    any = true;
    // Of floating point, the sign bit alone is a zero (or, of the fnuz types, a NaN) and never a level.
    const bool is_level = (level >= type.sign) == negative && !(type.is_float && level == type.sign);
    if (!is_level) {
      throw FileError(Problem::kDamaged,
                      join("levels: expected ", negative ? "negative" : "positive", " values"));
    }
  }
  if (!any) throw FileError(Problem::kDamaged, "levels: expected at least one that is not zero");
}

void make_opposites(const Type& type, Levels& levels) {
  for (std::size_t i = 0; i < levels.negative.size() / type.width; ++i) {
    const std::uint64_t level = load_pattern(levels.negative.data(), i, type.width);
    std::uint64_t opposite = 0;
    if (level != 0) opposite = type.is_float ? level ^ type.sign : 2 * type.sign - level;
    if (opposite >= type.sign) {
      throw FileError(Problem::kDamaged, "levels: expected negatives that have an opposite");
    }
    store_pattern(levels.positive.data(), i, type.width, opposite);
  }
}

}  // namespace

void complete_levels(int dtype, const StoredLevels& stored, Levels& levels) {
  Format format{};
  if (!format_of(dtype, format)) throw FileError(Problem::kArgument, "levels: the type has none");
  const Type type{format.width, std::uint64_t{1} << (8 * format.width - 1), dtype < kFirstInteger};
  if (stored.negative) check(levels.negative, type, true);
  if (stored.symmetric) {
    make_opposites(type, levels);
  } else if (stored.positive) {
    check(levels.positive, type, false);
  }
}

}  // namespace ternzip::container
