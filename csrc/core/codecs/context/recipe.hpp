// The first byte of a payload: which model coded the rest, the widths of three of its priors, and a variant.
#pragma once

#include <cstdint>

#include "core/codecs/context/context.hpp"
#include "core/codecs/context/window.hpp"

namespace ternzip::context {

// The precisions that four kinds of coefficients start with, and whether similarity compares smoothed
// kernels. How unequal the rows and columns of a network are, and in what way its filters are alike, differs
// from one training to the next by more than anything else that the model assumes.
struct Priors {
  std::uint32_t row, column, similar, sign_window;
  bool smooth;
};

enum class Width : std::uint8_t { kUsual, kHalf, kDouble };
enum class Variant : std::uint8_t { kUsual, kSmooth, kNarrowSigns };

// Recipe 0 is the static model. Any other is one more than a number whose digits are, lowest first and each
// below 3, the effort less one, the widths of the priors of rows, columns and similarity, and the variant.
struct Recipe {
  static constexpr std::uint8_t kStatic = 0, kEnd = 244;

  Effort effort;
  Width rows = Width::kUsual, columns = Width::kUsual, similar = Width::kUsual;
  Variant variant = Variant::kUsual;

  // `code` is neither kStatic nor kEnd or above.
  static constexpr Recipe of_code(std::uint8_t code) noexcept {
    const unsigned digits = code - 1U;
    return {static_cast<Effort>(1 + digits % 3), static_cast<Width>(digits / 3 % 3),
            static_cast<Width>(digits / 9 % 3), static_cast<Width>(digits / 27 % 3),
            static_cast<Variant>(digits / 81)};
  }
  constexpr std::uint8_t code() const noexcept {
    return static_cast<std::uint8_t>(
        static_cast<unsigned>(effort) + 3 * static_cast<unsigned>(rows) + 9 * static_cast<unsigned>(columns) +
        27 * static_cast<unsigned>(similar) + 81 * static_cast<unsigned>(variant));
  }

  constexpr Priors priors() const noexcept {
    return {of(36, rows), of(36, columns), of(30, similar),
            of(40, variant == Variant::kNarrowSigns ? Width::kHalf : Width::kUsual),
            variant == Variant::kSmooth};
  }

 private:
  static constexpr std::uint32_t of(std::uint32_t hundredths, Width width) noexcept {
    return prior(width == Width::kUsual  ? hundredths
                 : width == Width::kHalf ? hundredths / 2
                                         : hundredths * 2);
  }
};

}  // namespace ternzip::context
