#include "core/codecs/static/static.hpp"

#include <algorithm>
#include <array>

#include "core/base/bytes.hpp"

namespace ternzip::static_codec {
namespace {

constexpr unsigned kPrecision = 24;  // frequencies are multiples of 2^-24
constexpr std::size_t kMaxLetters = 256, kMaxGroup = 8;

// An unsigned integer below 2^640: products of eight numbers below 2^64 and one below 2^25 fit.
class Wide {
 public:
  explicit Wide(std::uint32_t value) noexcept { limbs_[0] = value; }

  void multiply(std::uint64_t factor) noexcept {
    Wide high = *this;
    high.multiply_short(static_cast<std::uint32_t>(factor >> 32));
    multiply_short(static_cast<std::uint32_t>(factor));
    std::uint64_t carry = 0;
    for (std::size_t i = 1; i < kLimbs; ++i) {
      carry += std::uint64_t{limbs_[i]} + high.limbs_[i - 1];
      limbs_[i] = static_cast<std::uint32_t>(carry);
      carry >>= 32;
    }
  }
  friend bool operator<=(const Wide& a, const Wide& b) noexcept {
    return !std::lexicographical_compare(b.limbs_.rbegin(), b.limbs_.rend(), a.limbs_.rbegin(),
                                         a.limbs_.rend());
  }

 private:
  static constexpr std::size_t kLimbs = 20;

  void multiply_short(std::uint32_t factor) noexcept {
    std::uint64_t carry = 0;
    for (std::uint32_t& limb : limbs_) {
      carry += std::uint64_t{limb} * factor;
      limb = static_cast<std::uint32_t>(carry);
      carry >>= 32;
    }
  }

  std::array<std::uint32_t, kLimbs> limbs_{};  // lowest first
};

// floor(dividend / divisor), which is at most 2^kPrecision.
std::uint32_t quotient(const Wide& dividend, const Wide& divisor) noexcept {
  std::uint32_t result = 0;
  for (std::uint32_t bit = 1u << kPrecision; bit != 0; bit >>= 1) {
    Wide product = divisor;
    product.multiply(result | bit);
    if (product <= dividend) result |= bit;
  }
  return result;
}

// The symbols that occur, and the letters that groups of them make.
struct Alphabet {
  std::array<std::int8_t, 3> symbols{};
  std::array<std::uint64_t, 3> occurrences{};
  std::size_t base = 0;
  std::size_t group = 0;
  std::size_t letters = 1;
  std::array<std::uint32_t, kMaxLetters> frequencies{};
  std::array<std::uint32_t, kMaxLetters> starts{};
  std::array<std::array<std::int8_t, kMaxGroup>, kMaxLetters> trits{};

  explicit Alphabet(const TritCounts& counts) noexcept {
    const std::uint64_t all[] = {counts.negative, counts.zero, counts.positive};
    for (int symbol = -1; symbol <= 1; ++symbol) {
      if (all[symbol + 1] == 0) continue;
      symbols[base] = static_cast<std::int8_t>(symbol);
      occurrences[base++] = all[symbol + 1];
    }
    group = base == 3 ? 5 : 8;
    for (std::size_t i = 0; i < group; ++i) letters *= base;
    fill();
  }

 private:
  void fill() noexcept {
    Wide scale(1);
    const std::uint64_t total = occurrences[0] + occurrences[1] + occurrences[2];
    for (std::size_t i = 0; i < group; ++i) scale.multiply(total);
    // The frequency depends on how often each symbol is in a letter, not on the order.
    std::array<std::array<std::uint32_t, kMaxGroup + 1>, kMaxGroup + 1> known{};
    for (std::size_t letter = 0; letter < letters; ++letter) {
      std::array<std::size_t, 3> times{};
      std::size_t rest = letter;
      for (std::size_t i = 0; i < group; ++i, rest /= base) {
        trits[letter][i] = symbols[rest % base];
        ++times[rest % base];
      }
      std::uint32_t& frequency = known[times[0]][times[1]];
      if (frequency == 0) {
        Wide product(1u << kPrecision);
        for (std::size_t d = 0; d < base; ++d) {
          for (std::size_t i = 0; i < times[d]; ++i) product.multiply(occurrences[d]);
        }
        frequency = std::max(1u, quotient(product, scale));
      }
      frequencies[letter] = frequency;
    }
    std::uint32_t sum = 0;
    for (std::size_t i = 0; i < letters; ++i) sum += frequencies[i];
    const auto end = frequencies.begin() + static_cast<std::ptrdiff_t>(letters);
    *std::max_element(frequencies.begin(), end) += (1u << kPrecision) - sum;
    for (std::size_t i = 1; i < letters; ++i) starts[i] = starts[i - 1] + frequencies[i - 1];
  }
};

// For the upper bits of a position among the frequencies the first letter that may be there.
class Finder {
 public:
  explicit Finder(const Alphabet& alphabet) noexcept : alphabet_(alphabet) {
    std::size_t letter = 0;
    for (std::size_t slot = 0; slot < kSlots; ++slot) {
      const auto position = static_cast<std::uint32_t>(slot << kShift);
      while (letter + 1 < alphabet.letters && alphabet.starts[letter + 1] <= position) ++letter;
      first_[slot] = static_cast<std::uint8_t>(letter);
    }
  }
  std::size_t find(std::uint32_t position) const noexcept {
    std::size_t letter = first_[position >> kShift];
    while (letter + 1 < alphabet_.letters && alphabet_.starts[letter + 1] <= position) ++letter;
    return letter;
  }

 private:
  static constexpr unsigned kShift = 12;
  static constexpr std::size_t kSlots = std::size_t{1} << (kPrecision - kShift);
  const Alphabet& alphabet_;
  std::array<std::uint8_t, kSlots> first_;
};

// The words of a payload from its end, the last one filled up with zeros.
class Words {
 public:
  Words(const std::uint8_t* payload, std::size_t size) noexcept
      : payload_(payload), size_(size), left_(size / 4 + (size % 4 != 0 ? 1 : 0)) {}
  bool any() const noexcept { return left_ != 0; }
  std::uint32_t take() noexcept {
    --left_;
    if (size_ - 4 * left_ >= 4) return load_le<std::uint32_t>(payload_ + 4 * left_);
    std::uint32_t word = 0;
    for (std::size_t i = 4 * left_; i < size_; ++i) word |= std::uint32_t{payload_[i]} << (8 * (i % 4));
    return word;
  }

 private:
  const std::uint8_t* payload_;
  std::size_t size_;
  std::size_t left_;
};

}  // namespace

bool decode(const std::uint8_t* payload, std::size_t size, std::size_t n, const TritCounts& counts,
            std::int8_t* out) noexcept {
  if (size != 0 && payload[size - 1] == 0) return false;
  const Alphabet alphabet(counts);
  const Finder finder(alphabet);
  Words words(payload, size);
  std::uint64_t state = 0;
  for (int i = 0; i < 2 && words.any(); ++i) state = state << 32 | words.take();
  for (std::size_t i = 0; i < n; i += alphabet.group) {
    const auto position = static_cast<std::uint32_t>(state & ((1u << kPrecision) - 1));
    const std::size_t letter = finder.find(position);
    state = (state >> kPrecision) * alphabet.frequencies[letter] + position - alphabet.starts[letter];
    if (state >> 32 == 0 && words.any()) state = state << 32 | words.take();
    std::copy_n(alphabet.trits[letter].begin(), std::min(alphabet.group, n - i), out + i);
  }
  return !words.any() && state == 0;
}

}  // namespace ternzip::static_codec
