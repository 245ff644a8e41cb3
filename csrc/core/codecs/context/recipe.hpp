// The first byte of a payload: which model coded the rest, and the widths of four of its priors.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "core/codecs/context/context.hpp"
#include "core/codecs/context/window.hpp"

namespace ternzip::context {

// The precisions that four kinds of coefficients start with. How unequal the rows and columns of a network
// are, how alike its filters and how smooth its kernels, differs from one training to the next by more than
// anything else that the model assumes.
struct Priors {
  static constexpr std::size_t kCount = 4;
  std::uint32_t row, column, similar, sign_window;
};

// Recipe 0 is the static model. Any other is one more than a number whose digits are, lowest first and each
// below 3, the effort less one and a width for each of the priors: the usual one, half or twice that.
class Recipe {
 public:
  static constexpr std::uint8_t kStatic = 0, kEnd = 244;
  static constexpr unsigned kWidths = 3;

  explicit constexpr Recipe(Effort effort) noexcept : effort_(effort) {}
  // `code` is neither kStatic nor kEnd or above.
  static constexpr Recipe of_code(std::uint8_t code) noexcept {
    unsigned rest = code - 1U;
    Recipe recipe(static_cast<Effort>(1 + rest % 3));
    for (std::uint8_t& width : recipe.widths_) width = static_cast<std::uint8_t>((rest /= 3) % kWidths);
    return recipe;
  }
  constexpr std::uint8_t code() const noexcept {
    unsigned digits = 0;
    for (std::size_t i = Priors::kCount; i-- > 0;) digits = digits * kWidths + widths_[i];
    return static_cast<std::uint8_t>(digits * 3 + static_cast<unsigned>(effort_));
  }

  constexpr Effort effort() const noexcept { return effort_; }
  constexpr std::uint8_t& width(std::size_t prior) noexcept { return widths_[prior]; }
  constexpr Priors priors() const noexcept {
    return {of(30, widths_[0]), of(40, widths_[1]), of(30, widths_[2]), of(40, widths_[3])};
  }

 private:
  static constexpr std::uint32_t of(std::uint32_t hundredths, std::uint8_t width) noexcept {
    return prior(width == 0 ? hundredths : width == 1 ? hundredths / 2 : hundredths * 2);
  }

  Effort effort_;
  std::array<std::uint8_t, Priors::kCount> widths_{};
};

}  // namespace ternzip::context
