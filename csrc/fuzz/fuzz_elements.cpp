// The writer of elements: any int8 values, written in any pieces, with blocks of levels of any shape, some
// levels missing, against its contract.
#include <algorithm>
#include <cstring>

#include "core/simd/isa.hpp"
#include "core/tensor/element_writer.hpp"
#include "core/tensor/patterns.hpp"
#include "fuzz/input.hpp"

namespace ternzip::fuzz {
namespace {

std::size_t block_of(const LevelGrid& grid, std::size_t element) {
  const std::size_t row = element / grid.row_size, column = element % grid.row_size;
  return row / grid.height * grid.blocks_per_row() + column / grid.width;
}

void check(Input& input) {
  static const std::vector<std::string> isas = available_isas();
  set_isa(isas[input.byte() % isas.size()]);
  const std::size_t width = std::size_t{1} << input.byte() % 4, offset = input.byte() % 8;
  const std::size_t row_size = 1 + input.below(50), first = input.below(1000);
  const LevelGrid grid{row_size, 1u + input.byte() % 8, 1 + input.below(row_size)};
  const unsigned missing = input.byte();  // one block in so many lacks a level; 0: none does
  const std::size_t pieces = 1 + input.byte() % 4;
  const std::vector<std::int8_t> trits(input.rest(), input.rest() + input.left());
  const std::size_t n = trits.size();
  const std::size_t blocks = ((first + n) / row_size / grid.height + 1) * grid.blocks_per_row();
  std::vector<std::uint64_t> negative(blocks), positive(blocks);
  std::vector<std::uint8_t> negative_levels(blocks * width), positive_levels(blocks * width);
  const std::uint64_t mask = ~std::uint64_t{0} >> (64 - 8 * width);
  for (std::size_t block = 0; block < blocks; ++block) {
    negative[block] = (block * 0x9E3779B97F4A7C15 | 1) & mask;
    positive[block] = ((block + 1) * 0xC2B2AE3D27D4EB4F | 1) & mask;
    if (missing != 0 && block % missing == missing - 1) (block % 2 == 0 ? negative : positive)[block] = 0;
    store_pattern(negative_levels.data(), block, width, negative[block]);
    store_pattern(positive_levels.data(), block, width, positive[block]);
  }
  std::vector<std::uint8_t> out(offset + n * width);
  ElementWriter writer(Format{width, 0, 0, 0, 0}, negative_levels.data(), positive_levels.data(), grid, first,
                       out.data() + offset);
  for (std::size_t piece = 0; piece < pieces; ++piece) {
    const std::size_t begin = n * piece / pieces, end = n * (piece + 1) / pieces;
    writer.write(trits.data() + begin, end - begin);
  }

  CheckedTritCounts counts;
  std::size_t missing_place = n;  // of the first symbol without a level
  for (std::size_t i = 0; i < n; ++i) {
    const std::size_t block = block_of(grid, first + i);
    const std::uint64_t level = trits[i] < 0 ? negative[block] : trits[i] > 0 ? positive[block] : 0;
    std::uint64_t bits = 0;
    std::memcpy(&bits, out.data() + offset + i * width, width);
    require(bits == level, "elements are the levels of their blocks");
    if (trits[i] < -1 || trits[i] > 1) {
      ++counts.invalid;
      continue;
    }
    ++(trits[i] < 0 ? counts.negative : trits[i] > 0 ? counts.positive : counts.zero);
    if (level == 0 && trits[i] != 0) missing_place = std::min(missing_place, i);
  }
  const CheckedTritCounts& found = writer.counts();
  require(found.negative == counts.negative && found.zero == counts.zero &&
              found.positive == counts.positive && found.invalid == counts.invalid,
          "values are counted as they are");
  if (missing_place == n) {
    require(writer.missing_level_block() == ElementWriter::kNoBlock, "no level is missing");
  } else {
    const std::size_t block = block_of(grid, first + missing_place);
    require(writer.missing_level_block() == block, "the first block that lacks a level is named");
    require(writer.missing_level_symbol() == (negative[block] == 0 ? -1 : 1), "so is the symbol");
  }
}

}  // namespace
}  // namespace ternzip::fuzz

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  ternzip::fuzz::Input input(data, size);
  ternzip::fuzz::check(input);
  return 0;
}
