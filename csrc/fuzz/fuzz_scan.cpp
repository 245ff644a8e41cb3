// Ternary tensors by bit pattern: levels, trits and signs of zeros against what their definition says, on
// every instruction set, at any address, for the tensor and by blocks; and the writer of elements as the way
// back.
#include <algorithm>
#include <cstring>

#include "core/simd/isa.hpp"
#include "core/tensor/block_levels.hpp"
#include "core/tensor/element_writer.hpp"
#include "core/tensor/patterns.hpp"
#include "core/tensor/ternary_tensor.hpp"
#include "fuzz/input.hpp"

namespace ternzip::fuzz {
namespace {

// Elements at an address that is a multiple of nothing.
class Elements {
 public:
  Elements(const Format& format, std::size_t n, std::size_t offset)
      : width_(format.width), offset_(offset), size_(n), bytes_(offset + n * format.width) {}
  std::size_t size() const noexcept { return size_; }
  std::uint8_t* data() noexcept { return bytes_.data() + offset_; }
  std::uint64_t operator[](std::size_t i) const noexcept {
    std::uint64_t bits = 0;
    for (std::size_t b = width_; b-- > 0;) bits = bits << 8 | bytes_[offset_ + i * width_ + b];
    return bits;
  }
  void set(std::size_t i, std::uint64_t bits) noexcept {
    for (std::size_t b = 0; b < width_; ++b) {
      bytes_[offset_ + i * width_ + b] = static_cast<std::uint8_t>(bits >> (8 * b));
    }
  }

 private:
  std::size_t width_, offset_, size_;
  std::vector<std::uint8_t> bytes_;
};

bool is_zero(const Format& format, std::uint64_t bits) {
  return bits == 0 || (format.negative_zero != 0 && bits == format.negative_zero);
}

// What detect_levels promises, one element after the other.
TernaryLevels expected_levels(const Elements& elements, const Format& format, std::size_t begin,
                              std::size_t end) {
  TernaryLevels levels;
  for (std::size_t i = begin; i < end; ++i) {
    const std::uint64_t bits = elements[i];
    if (is_zero(format, bits)) {
      ++levels.counts.zero;
      levels.negative_zeros += bits != 0 ? 1 : 0;
      continue;
    }
    const bool negative = is_negative(format, bits);
    std::uint64_t& level = negative ? levels.negative_bits : levels.positive_bits;
    if (is_nan(format, bits) || (level != 0 && level != bits)) return {};
    level = bits;
    ++(negative ? levels.counts.negative : levels.counts.positive);
  }
  levels.is_ternary = true;
  return levels;
}

bool same(const TernaryLevels& a, const TernaryLevels& b) {
  return a.is_ternary == b.is_ternary &&
         (!a.is_ternary || (a.negative_bits == b.negative_bits && a.positive_bits == b.positive_bits &&
                            a.counts.negative == b.counts.negative && a.counts.zero == b.counts.zero &&
                            a.counts.positive == b.counts.positive && a.negative_zeros == b.negative_zeros));
}

// Few patterns, so that many tensors are ternary; by blocks, some of them. Each element comes `times` in a
// row.
Elements elements_of(Input& input, const Format& format, std::size_t times) {
  std::uint64_t patterns[4] = {0, format.negative_zero, 0, 0};
  for (std::size_t i = 2; i < 4; ++i) {
    for (std::size_t b = 0; b < format.width; ++b) patterns[i] = patterns[i] << 8 | input.byte();
  }
  const unsigned layout = input.byte();
  const std::size_t offset = layout % 8, run = layout < 128 ? 0 : 8 + layout / 8 % 16;
  const std::size_t n = times == 1 ? input.left() : std::min<std::size_t>(input.left(), 200);
  Elements elements(format, n * times, offset);
  for (std::size_t i = 0; i < n; ++i) {
    const unsigned value = input.byte();
    const std::uint64_t change = run == 0 || value % 4 < 2 ? 0 : i / run % 8;
    const std::uint64_t bits = value < 250 ? patterns[value % 4] ^ change : value;
    for (std::size_t j = 0; j < times; ++j) elements.set(i * times + j, bits);
  }
  return elements;
}

// What detect_block_levels must find; whatever else it finds, check_blocks sees to it that it is true.
bool has_row_levels(const Elements& elements, const Format& format, std::size_t rows, std::size_t row_size) {
  for (std::size_t row = 0; row < rows; ++row) {
    if (!expected_levels(elements, format, row * row_size, (row + 1) * row_size).is_ternary) return false;
  }
  return rows != 0;
}

void check_blocks(Elements& elements, const Format& format, std::size_t row_size) {
  const std::size_t rows = elements.size() / row_size, used = rows * row_size;
  const BlockLevels found = detect_block_levels(elements.data(), rows, row_size, format, 1 + row_size % 2);
  if (row_size > 1 && has_row_levels(elements, format, rows, row_size)) {
    require(found.is_ternary && found.grid.width == row_size, "levels of rows are found");
  }
  if (!found.is_ternary) return;
  const std::size_t bands = (rows + found.grid.height - 1) / found.grid.height;
  require(found.blocks == bands * found.grid.blocks_per_row(), "every block has its levels");
  for (std::size_t block = 0; block < found.blocks; ++block) {
    for (const unsigned char* levels : {found.negative.get(), found.positive.get()}) {
      const std::uint64_t bits = load_pattern(levels, block, format.width);
      require(!is_nan(format, bits) && (bits == 0 || !is_zero(format, bits)),
              "levels are numbers, not zeros");
      require(bits == 0 || is_negative(format, bits) == (levels == found.negative.get()), "of their sign");
    }
  }

  std::vector<std::int8_t> trits(used), signs;
  extract_trits(elements.data(), used, format, trits.data(), 1);
  signs.resize(found.counts.zero);
  require(extract_zero_signs(elements.data(), used, format, signs.data(), signs.size()) == signs.size(),
          "there are as many signs as zeros");
  require(static_cast<std::uint64_t>(std::count(signs.begin(), signs.end(), -1)) == found.negative_zeros,
          "negative zeros are counted");
  Elements back(format, used, 3);
  ElementWriter writer(format, found.negative.get(), found.positive.get(), found.grid, 0, back.data());
  const std::size_t part = used / 3;
  writer.write(trits.data(), part);
  writer.write(trits.data() + part, used - part);
  require(writer.missing_level_block() == ElementWriter::kNoBlock, "every symbol has its level");
  const CheckedTritCounts& counts = writer.counts();
  require(counts.invalid == 0 && counts.negative == found.counts.negative &&
              counts.zero == found.counts.zero && counts.positive == found.counts.positive,
          "what is written is counted");
  require(apply_zero_signs(back.data(), used, format, signs.data(), signs.size()), "signs find their zeros");
  for (std::size_t i = 0; i < used; ++i) require(back[i] == elements[i], "elements come back bit for bit");
}

void check(Input& input) {
  static const std::vector<std::string> isas = available_isas();
  const unsigned way = input.byte();
  set_isa(isas[way % isas.size()]);
  // Short rows are quick; long ones have blocks that the kernels do not take at once.
  const std::size_t times = way < 248 ? 1 : 256;
  Format format{};
  require(format_of(static_cast<int>(input.byte() % 12), format), "codes below 12 are dtypes");
  const std::size_t row_size = (1 + input.below(100)) * times;
  Elements elements = elements_of(input, format, times);
  const TernaryLevels expected = expected_levels(elements, format, 0, elements.size());
  require(same(detect_levels(elements.data(), elements.size(), format, 1), expected),
          "levels and counts are those of the elements");
  std::vector<std::int8_t> trits(elements.size());
  extract_trits(elements.data(), elements.size(), format, trits.data(), 1);
  for (std::size_t i = 0; i < trits.size(); ++i) {
    const int trit = is_zero(format, elements[i]) ? 0 : is_negative(format, elements[i]) ? -1 : 1;
    require(trits[i] == trit, "trits are signs");
  }
  check_blocks(elements, format, row_size);
}

}  // namespace
}  // namespace ternzip::fuzz

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  ternzip::fuzz::Input input(data, size);
  ternzip::fuzz::check(input);
  return 0;
}
