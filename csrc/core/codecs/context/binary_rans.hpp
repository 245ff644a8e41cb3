// Binary rANS with 16-bit probabilities and a 64-bit state renormalized by 32-bit words.
//
// The decoder runs forwards, so the encoder records (probability, bit) and codes them backwards. The state
// starts at 0 instead of at the renormalization bound: a stream then costs its information content rounded
// up to whole bytes. A decoder that does not end at 0 with all words read was given a damaged stream; one
// that does may still have been given the stream of other bits. Layout: the state at the start of decoding,
// little-endian without its leading zero bytes, then the words in reading order. A stream of at most 8 bytes
// is all state; a longer one has 5 to 8 bytes of state.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "core/base/bytes.hpp"
#include "core/codecs/context/tables.hpp"

namespace ternzip {

// What a bit of probability p / 2^16 costs, in units of 2^-16 bits, by the nearest of 2048 values of p:
// enough to choose by.
constexpr std::array<std::uint32_t, 2048> make_bit_costs() {
  std::array<std::uint32_t, 2048> table{};
  for (std::size_t i = 0; i < table.size(); ++i) {
    table[i] = static_cast<std::uint32_t>((16 << 16) - context::log2_q16(32 * i + 16));
  }
  return table;
}
inline constexpr auto kBitCosts = make_bit_costs();
inline std::uint32_t bit_cost(std::uint32_t p) noexcept { return kBitCosts[p >> 5]; }

// What recorded bits cost, in units of 2^-16 bits.
struct BitCosts {
  std::uint64_t flags = 0, signs = 0;
  std::uint64_t sum() const noexcept { return flags + signs; }
};

class BinaryRansEncoder {
 public:
  static constexpr bool kEncodes = true;

  void reserve(std::size_t bits) { record_.reserve(bits); }
  void clear() noexcept { record_.clear(); }

  // What follows counts as costs of signs, or else of flags.
  void signs(bool are_next) noexcept { kind_ = are_next ? kSign : 0; }

  // Records a bit that is 1 with probability p1 / 2^16, 0 < p1 < 2^16; returns the bit.
  std::uint32_t code(std::uint32_t p1, bool bit) {
    record_.push_back(kind_ | (p1 << 1) | static_cast<std::uint32_t>(bit));
    return bit ? 1 : 0;
  }

  BitCosts costs() const noexcept {
    std::uint64_t all = 0, signs = 0;
    for (const std::uint32_t record : record_) {
      const std::uint32_t p1 = (record & ~kSign) >> 1;
      const std::uint32_t cost = bit_cost((record & 1) != 0 ? p1 : (1U << 16) - p1);
      all += cost;
      signs += cost & (0 - (record >> 31));
    }
    return {all - signs, signs};
  }

  // Appends the coded stream to `out`.
  void finish(std::vector<std::uint8_t>& out) const {
    std::uint64_t state = 0;
    std::vector<std::uint32_t> words;
    for (std::size_t i = record_.size(); i-- > 0;) {
      const std::uint32_t p1 = (record_[i] & ~kSign) >> 1;
      const std::uint32_t p0 = (1U << 16) - p1;
      const bool bit = (record_[i] & 1) != 0;
      const std::uint64_t frequency = bit ? p1 : p0;
      if (state >= frequency << 48) {
        words.push_back(static_cast<std::uint32_t>(state));
        state >>= 32;
      }
      std::uint64_t quotient = multiply_high(state, ~std::uint64_t{0} / frequency);
      std::uint64_t remainder = state - quotient * frequency;
      const std::uint64_t one_less = remainder >= frequency ? 1 : 0;  // see below
      quotient += one_less;
      remainder -= frequency & (0 - one_less);
      state = (quotient << 16) + remainder + (bit ? p0 : 0);
    }
    for (; state != 0; state >>= 8) out.push_back(static_cast<std::uint8_t>(state));
    for (std::size_t i = words.size(); i-- > 0;) {
      const std::size_t at = out.size();
      out.resize(at + 4);
      store_le(out.data() + at, words[i]);
    }
  }

 private:
  // Every state waits for the one before it, and a division for nothing but its operands: the division that
  // finish makes does not depend on the state, so that processors do it ahead. With f the frequency and
  // r = floor((2^64 - 1) / f), 2^64 = r f + e for some 1 <= e <= f, so that
  //   state r / 2^64 = state / f - (state / 2^64) (e / f),  which is less than 1 below state / f:
  // its floor is the quotient or one less, and in the latter case the remainder is f too large.
  static std::uint64_t multiply_high(std::uint64_t a, std::uint64_t b) noexcept {
#if defined(__SIZEOF_INT128__)
    __extension__ using Wide = unsigned __int128;
    return static_cast<std::uint64_t>((Wide{a} * b) >> 64);
#else
    const std::uint64_t a0 = a & 0xFFFFFFFF, a1 = a >> 32, b0 = b & 0xFFFFFFFF, b1 = b >> 32;
    const std::uint64_t low = a1 * b0 + (a0 * b0 >> 32);  // below 2^64, as is the sum that follows
    const std::uint64_t middle = a0 * b1 + (low & 0xFFFFFFFF);
    return a1 * b1 + (low >> 32) + (middle >> 32);
#endif
  }

  static constexpr std::uint32_t kSign = 1U << 31;
  std::uint32_t kind_ = 0;
  std::vector<std::uint32_t> record_;  // kSign for one, the probability, the bit
};

class BinaryRansDecoder {
 public:
  static constexpr bool kEncodes = false;

  // `bytes` must stay alive. Nothing is ever read past the end: a stream that runs dry decodes to wrong bits
  // and finished() says so.
  BinaryRansDecoder(const std::uint8_t* bytes, std::size_t size) noexcept {
    const std::size_t state_bytes = size <= 8 ? size : 5 + (size - 5) % 4;
    for (std::size_t i = state_bytes; i-- > 0;) state_ = (state_ << 8) | bytes[i];
    next_ = bytes + state_bytes;
    end_ = bytes + size;
    valid_ = state_bytes == 0 || bytes[state_bytes - 1] != 0;
  }

  // The next bit, which is 1 with probability p1 / 2^16. The bit selects by masks, not by a branch: it is
  // unpredictable by nature.
  std::uint32_t code(std::uint32_t p1, bool = false) noexcept {
    const std::uint32_t p0 = (1U << 16) - p1;
    const std::uint32_t over = (static_cast<std::uint32_t>(state_) & 0xFFFF) - p0;
    const std::uint32_t zero = 0U - (over >> 31);  // all ones if the bit is 0
    const std::uint32_t frequency = p1 + ((p0 - p1) & zero);
    state_ = frequency * (state_ >> 16) + (over + (p0 & zero));
    if (state_ < (1ULL << 32) && next_ != end_) {
      state_ = (state_ << 32) | load_le<std::uint32_t>(next_);
      next_ += 4;
    }
    return 1 + zero;
  }

  bool finished() const noexcept { return valid_ && state_ == 0 && next_ == end_; }

 private:
  std::uint64_t state_ = 0;
  const std::uint8_t* next_ = nullptr;
  const std::uint8_t* end_ = nullptr;
  bool valid_ = true;
};

}  // namespace ternzip
