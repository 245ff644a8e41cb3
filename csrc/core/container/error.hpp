// What is wrong with a file, or with what was asked of it: the one exception of this room beside
// std::bad_alloc.
#pragma once

#include <concepts>
#include <cstdint>
#include <initializer_list>
#include <stdexcept>
#include <string>
#include <string_view>

namespace ternzip::container {

enum class Problem {
  kDamaged,      // the file breaks a rule of docs/FORMAT.md
  kUnsupported,  // it needs a later version of ternzip, as far as can be told
  kLimit,        // it holds more than the caller allows
  kSource,       // its bytes cannot be read
  kArgument,     // what was asked for makes no sense
  kNotFound,     // nothing has that name or number
  kNotTernary,   // a ternary tensor was asked for
};

class FileError : public std::runtime_error {
 public:
  FileError(Problem problem, const std::string& message) : std::runtime_error(message), problem_(problem) {}
  Problem problem() const noexcept { return problem_; }
  // The same with the place in front of its message.
  FileError at(const std::string& place) const { return {problem_, place + ": " + what()}; }

 private:
  Problem problem_;
};

// A piece of a message: text, or a number in decimal digits.
class Part {
 public:
  template <class Text>
    requires std::convertible_to<const Text&, std::string_view>
  Part(const Text& text) noexcept : text_(text) {}
  Part(std::uint64_t number) noexcept : number_(number), is_number_(true) {}
  void append_to(std::string& message) const {
    if (is_number_) {
      message += std::to_string(number_);
    } else {
      message += text_;
    }
  }

 private:
  std::string_view text_;
  std::uint64_t number_ = 0;
  bool is_number_ = false;
};

std::string join_parts(std::initializer_list<Part> parts);

// Strings and numbers, one after the other.
template <class... Parts>
std::string join(const Parts&... parts) {
  return join_parts({Part(parts)...});
}

// 0x and `digits` hexadecimal digits.
std::string hexadecimal(std::uint32_t number, unsigned digits);

// A name in a message of one line: in quotes, all but printable ASCII escaped, and cut where it is long.
std::string quoted(std::string_view name);

// [2, 3]
std::string listed(const std::uint64_t* numbers, std::size_t count);

bool is_utf8(std::string_view text) noexcept;

}  // namespace ternzip::container
