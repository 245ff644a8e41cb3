// What a tensor's counts say before anything is coded.
#pragma once

#include <cstdint>

#include "core/codecs/context/context.hpp"
#include "core/codecs/context/tables.hpp"

namespace ternzip::context {

struct BaseRates {
  bool flags_given, signs_given;  // these need no bits: all flags are ones, or all signs alike
  std::int8_t given_trit;         // that of every nonzero, where signs are given
  std::int32_t flag, sign;        // logits of the rates; a flag is one for a nonzero, a sign for a negative

  explicit BaseRates(const TritCounts& c)
      : flags_given(c.zero == 0),
        signs_given(c.negative == 0 || c.positive == 0),
        given_trit(c.negative == 0 ? 1 : -1),
        flag(log_odds(c.negative + c.positive, c.zero)),
        sign(log_odds(c.negative, c.positive)) {}

  std::uint32_t density() const noexcept { return squash(flag); }  // Q16

 private:
  static std::int32_t log_odds(std::uint64_t ones, std::uint64_t zeros) noexcept {
    return log_ratio(2 * ones + 1, 2 * zeros + 1);
  }
};

}  // namespace ternzip::context
