// The writer of elements: any int8 values, written in any pieces, with levels for all or by row, some of them
// missing, against its contract.
#include <algorithm>
#include <cstring>

#include "core/simd/isa.hpp"
#include "core/tensor/element_writer.hpp"
#include "fuzz/input.hpp"

namespace ternzip::fuzz {
namespace {

void check(Input& input) {
  static const std::vector<std::string> isas = available_isas();
  set_isa(isas[input.byte() % isas.size()]);
  const std::size_t width = std::size_t{1} << input.byte() % 4, offset = input.byte() % 8;
  const std::size_t row_size = input.below(50), first = input.below(1000);
  const unsigned missing = input.byte();  // one row in so many lacks a level; 0: none does
  const std::size_t pieces = 1 + input.byte() % 4;
  const std::vector<std::int8_t> trits(input.rest(), input.rest() + input.left());
  const std::size_t n = trits.size(), rows = row_size == 0 ? 1 : (first + n) / row_size + 1;
  std::vector<std::uint64_t> negative(rows), positive(rows);
  const std::uint64_t mask = ~std::uint64_t{0} >> (64 - 8 * width);
  for (std::size_t row = 0; row < rows; ++row) {
    negative[row] = (row * 0x9E3779B97F4A7C15 | 1) & mask;
    positive[row] = ((row + 1) * 0xC2B2AE3D27D4EB4F | 1) & mask;
    if (missing != 0 && row % missing == missing - 1) (row % 2 == 0 ? negative : positive)[row] = 0;
  }
  std::vector<std::uint8_t> out(offset + n * width);
  ElementWriter writer(Format{width, 0, 0, 0, 0}, negative.data(), positive.data(), row_size, first,
                       out.data() + offset);
  for (std::size_t piece = 0; piece < pieces; ++piece) {
    const std::size_t begin = n * piece / pieces, end = n * (piece + 1) / pieces;
    writer.write(trits.data() + begin, end - begin);
  }

  CheckedTritCounts counts;
  std::size_t missing_row = ElementWriter::kNoRow;
  for (std::size_t i = 0; i < n; ++i) {
    const std::size_t row = row_size == 0 ? 0 : (first + i) / row_size;
    const std::uint64_t level = trits[i] < 0 ? negative[row] : trits[i] > 0 ? positive[row] : 0;
    std::uint64_t bits = 0;
    std::memcpy(&bits, out.data() + offset + i * width, width);
    require(bits == level, "elements are the levels of their rows");
    if (trits[i] < -1 || trits[i] > 1) {
      ++counts.invalid;
      continue;
    }
    ++(trits[i] < 0 ? counts.negative : trits[i] > 0 ? counts.positive : counts.zero);
    if (trits[i] != 0 && level == 0) missing_row = std::min(missing_row, row);
  }
  const CheckedTritCounts& found = writer.counts();
  require(found.negative == counts.negative && found.zero == counts.zero &&
              found.positive == counts.positive && found.invalid == counts.invalid,
          "values are counted as they are");
  require(writer.missing_level_row() == missing_row, "the first row that lacks a level is named");
  if (missing_row != ElementWriter::kNoRow) {
    const bool no_negative = negative[missing_row] == 0;
    require(writer.missing_level_symbol() == (no_negative ? -1 : 1), "so is the symbol");
  }
}

}  // namespace
}  // namespace ternzip::fuzz

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  ternzip::fuzz::Input input(data, size);
  ternzip::fuzz::check(input);
  return 0;
}
