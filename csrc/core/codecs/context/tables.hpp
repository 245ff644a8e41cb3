// Fixed-point arithmetic of the context codec: everything here is integer, so that every machine and
// compiler computes the same probabilities. Logits are Q12 (4096 is one nat), probabilities Q16.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

namespace ternzip::context {

inline constexpr int kLogitBits = 12;
inline constexpr std::int32_t kLogitOne = 1 << kLogitBits;
inline constexpr std::uint32_t kProbOne = 1U << 16;

// squash: logit -> probability. One entry for every 1/128 of a nat in [-12, 12).
inline constexpr std::int32_t kSquashLimit = 12 << kLogitBits;
inline constexpr int kSquashShift = kLogitBits - 7;
inline constexpr std::size_t kSquashSize = 2 * 12 * 128;

constexpr std::array<std::uint16_t, kSquashSize> make_squash() {
  // e^(-j/128) in Q38 by repeated multiplication with round(2^24 e^(-1/128)).
  constexpr std::uint64_t kOne = 1ULL << 38;
  constexpr std::uint64_t kStep = 16646655;
  std::array<std::uint16_t, kSquashSize> table{};
  std::uint64_t power = kOne;
  for (std::size_t j = 0; j <= kSquashSize / 2; ++j) {
    std::uint64_t p = ((kOne << 16) + (kOne + power) / 2) / (kOne + power);  // 2^16 / (1 + e^(-j/128))
    p = p < kProbOne - 1 ? p : kProbOne - 1;
    if (j < kSquashSize / 2) table[kSquashSize / 2 + j] = static_cast<std::uint16_t>(p);
    if (j > 0) table[kSquashSize / 2 - j] = static_cast<std::uint16_t>(kProbOne - p);
    power = (power * kStep + (1U << 23)) >> 24;
  }
  return table;
}
inline constexpr auto kSquash = make_squash();

// A logit as an offset from the lowest that the table knows.
inline std::uint32_t squash_index(std::int32_t logit) noexcept {
  const auto index = static_cast<std::uint32_t>(logit + kSquashLimit);
  if (index >= 2 * kSquashLimit) [[unlikely]]
    return logit < 0 ? 0 : 2 * kSquashLimit - 1;
  return index;
}
inline std::uint32_t squash(std::int32_t logit) noexcept {
  return kSquash[squash_index(logit) >> kSquashShift];
}

// Reciprocal of a precision (inverse variance). Precisions are Q16; the table is indexed in eighths and
// saturates at 512, which keeps every coefficient able to move.
inline constexpr std::size_t kReciprocalSize = 4096;
inline constexpr int kReciprocalShift = 13;

constexpr std::array<std::uint16_t, kReciprocalSize> make_reciprocal() {
  std::array<std::uint16_t, kReciprocalSize> table{};
  for (std::size_t j = 0; j < kReciprocalSize; ++j) {
    const std::size_t value = (std::size_t{1} << 19) / (j > 8 ? j : 8);
    table[j] = static_cast<std::uint16_t>(value < 65535 ? value : 65535);
  }
  return table;
}
inline constexpr auto kReciprocal = make_reciprocal();

// 1 / precision in Q16, at most 1.
inline std::int32_t reciprocal(std::uint32_t precision) noexcept {
  const std::size_t index = precision >> kReciprocalShift;
  return kReciprocal[index < kReciprocalSize ? index : kReciprocalSize - 1];
}

// log2 of x >= 1 in Q16, truncated: the integer part from the bit length, each fraction bit from a squaring.
constexpr std::int32_t log2_q16(std::uint64_t x) noexcept {
  std::int32_t whole = 0;
  for (std::uint64_t rest = x; rest > 1; rest >>= 1) ++whole;
  std::uint64_t mantissa = whole > 31 ? x >> (whole - 31) : x << (31 - whole);  // [2^31, 2^32)
  std::int32_t result = whole;
  for (int bit = 0; bit < 16; ++bit) {
    mantissa = (mantissa * mantissa) >> 31;
    const std::int32_t above = mantissa >= (1ULL << 32) ? 1 : 0;
    mantissa >>= above;
    result = result * 2 + above;
  }
  return result;
}

// ln(a / b) as a Q12 logit; a, b >= 1.
constexpr std::int32_t log_ratio(std::uint64_t a, std::uint64_t b) noexcept {
  constexpr std::int64_t kLn2 = 45426;  // 2^16 ln 2
  return static_cast<std::int32_t>(((log2_q16(a) - log2_q16(b)) * kLn2) >> 20);
}

}  // namespace ternzip::context
