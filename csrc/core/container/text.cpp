#include <algorithm>

#include "core/container/error.hpp"

namespace ternzip::container {

std::string join_parts(std::initializer_list<Part> parts) {
  std::string message;
  for (const Part& part : parts) part.append_to(message);
  return message;
}

std::string hexadecimal(std::uint32_t number, unsigned digits) {
  constexpr char kDigits[] = "0123456789abcdef";
  std::string text = "0x";
  for (unsigned i = digits; i-- > 0;) text += kDigits[number >> (4 * i) & 15];
  return text;
}

std::string quoted(std::string_view name) {
  constexpr std::size_t kWhole = 60, kCut = 40;
  std::string text = "'";
  for (const char c : name.substr(0, name.size() <= kWhole ? name.size() : kCut)) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte < 0x20 || byte > 0x7E) {
      text += "\\x" + hexadecimal(byte, 2).substr(2);
    } else {
      if (c == '\'' || c == '\\') text += '\\';
      text += c;
    }
  }
  text += name.size() <= kWhole ? "'" : "'...";
  return text;
}

std::string listed(const std::uint64_t* numbers, std::size_t count) {
  std::string text = "[";
  for (std::size_t i = 0; i < count; ++i) text += (i == 0 ? "" : ", ") + std::to_string(numbers[i]);
  return text + "]";
}

bool is_utf8(std::string_view text) noexcept {
  for (std::size_t i = 0; i < text.size();) {
    const auto lead = static_cast<unsigned char>(text[i++]);
    if (lead < 0x80) continue;
    // Of the first byte after the lead what is allowed, so that no code point is longer than need be, a
    // surrogate or beyond U+10FFFF.
    unsigned char lowest = 0x80, highest = 0xBF;
    std::size_t more = 0;
    if (lead >= 0xC2 && lead <= 0xDF) {
      more = 1;
    } else if (lead >= 0xE0 && lead <= 0xEF) {
      more = 2;
      if (lead == 0xE0) lowest = 0xA0;
      if (lead == 0xED) highest = 0x9F;
    } else if (lead >= 0xF0 && lead <= 0xF4) {
      more = 3;
      if (lead == 0xF0) lowest = 0x90;
      if (lead == 0xF4) highest = 0x8F;
    } else {
      return false;
    }
    if (more > text.size() - i) return false;
    for (; more != 0; --more, ++i, lowest = 0x80, highest = 0xBF) {
      const auto byte = static_cast<unsigned char>(text[i]);
      if (byte < lowest || byte > highest) return false;
    }
  }
  return true;
}

}  // namespace ternzip::container
