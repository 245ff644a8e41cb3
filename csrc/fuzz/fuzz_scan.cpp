// Ternary tensors by bit pattern: levels, trits and signs of zeros against what their definition says, on
// every instruction set, at any address; and the writer of elements as the way back.
#include <algorithm>
#include <cstring>

#include "core/simd/isa.hpp"
#include "core/tensor/element_writer.hpp"
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

// Few patterns, so that many tensors are ternary.
Elements elements_of(Input& input, const Format& format) {
  std::uint64_t patterns[4] = {0, format.negative_zero, 0, 0};
  for (std::size_t i = 2; i < 4; ++i) {
    for (std::size_t b = 0; b < format.width; ++b) patterns[i] = patterns[i] << 8 | input.byte();
  }
  const std::size_t offset = input.byte() % 8;
  const std::size_t n = input.left();
  Elements elements(format, n, offset);
  for (std::size_t i = 0; i < n; ++i) {
    const unsigned value = input.byte();
    elements.set(i, value < 250 ? patterns[value % 4] : value);
  }
  return elements;
}

void check_rows(Elements& elements, const Format& format, std::size_t cols) {
  const std::size_t rows = elements.size() / cols, used = rows * cols;
  std::vector<std::uint64_t> negative(rows), positive(rows);
  const TernaryLevels found =
      detect_row_levels(elements.data(), rows, cols, format, negative.data(), positive.data());
  std::vector<std::int8_t> trits(used), signs;
  for (std::size_t row = 0; row < rows; ++row) {
    const TernaryLevels expected = expected_levels(elements, format, row * cols, (row + 1) * cols);
    if (!found.is_ternary) {
      if (!expected.is_ternary) return;
      continue;
    }
    require(expected.is_ternary && expected.negative_bits == negative[row] &&
                expected.positive_bits == positive[row],
            "rows have the levels they show");
  }
  require(found.is_ternary, "a tensor is refused for a row that is not ternary");

  extract_trits(elements.data(), used, format, trits.data(), 1);
  signs.resize(found.counts.zero);
  require(extract_zero_signs(elements.data(), used, format, signs.data()) == signs.size(),
          "there are as many signs as zeros");
  Elements back(format, used, 3);
  ElementWriter writer(format, negative.data(), positive.data(), cols, 0, back.data());
  const std::size_t part = used / 3;
  writer.write(trits.data(), part);
  writer.write(trits.data() + part, used - part);
  require(writer.missing_level_row() == ElementWriter::kNoRow, "every symbol has its level");
  require(writer.counts().invalid == 0 && writer.counts().zero == found.counts.zero,
          "what is written is counted");
  require(apply_zero_signs(back.data(), used, format, signs.data(), signs.size()), "signs find their zeros");
  for (std::size_t i = 0; i < used; ++i) require(back[i] == elements[i], "elements come back bit for bit");
}

void check(Input& input) {
  static const std::vector<std::string> isas = available_isas();
  set_isa(isas[input.byte() % isas.size()]);
  Format format{};
  require(format_of(static_cast<int>(input.byte() % 12), format), "codes below 12 are dtypes");
  Elements elements = elements_of(input, format);
  const TernaryLevels expected = expected_levels(elements, format, 0, elements.size());
  require(same(detect_levels(elements.data(), elements.size(), format, 1), expected),
          "levels and counts are those of the elements");
  std::vector<std::int8_t> trits(elements.size());
  extract_trits(elements.data(), elements.size(), format, trits.data(), 1);
  for (std::size_t i = 0; i < trits.size(); ++i) {
    const int trit = is_zero(format, elements[i]) ? 0 : is_negative(format, elements[i]) ? -1 : 1;
    require(trits[i] == trit, "trits are signs");
  }
  check_rows(elements, format, 1 + input.below(40));
}

}  // namespace
}  // namespace ternzip::fuzz

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  ternzip::fuzz::Input input(data, size);
  ternzip::fuzz::check(input);
  return 0;
}
