// Reads fields from untrusted bytes, front to back: running past the end is a FileError, never a short read.
#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>
#include <string>

#include "core/container/error.hpp"

namespace ternzip::container {

inline constexpr std::uint64_t kMaxVarint = std::numeric_limits<std::uint64_t>::max();

class Cursor {
 public:
  static constexpr std::uint64_t kNoOffset = kMaxVarint;

  // `offset` is the position of data[0] in the file, kNoOffset where the bytes were compressed there;
  // `section` names them in messages.
  Cursor(const std::uint8_t* data, std::size_t size, std::string section, std::uint64_t offset = kNoOffset)
      : data_(data), size_(size), section_(std::move(section)), offset_(offset) {}

  std::size_t remaining() const noexcept { return size_ - position_; }
  // From here on, messages name this part of the section.
  void enter(std::string section) { section_ = std::move(section); }
  [[noreturn]] void fail(const std::string& message, Problem problem = Problem::kDamaged) const;

  const std::uint8_t* take(std::uint64_t count, const char* field);
  std::uint8_t byte(const char* field) { return *take(1, field); }
  // An integer in its shortest form, at most `maximum`.
  std::uint64_t varint(const char* field, std::uint64_t maximum = kMaxVarint);
  // Refuses bytes that nobody has asked for.
  void end() const;

 private:
  const std::uint8_t* data_;
  std::size_t size_;
  std::size_t position_ = 0;
  std::string section_;
  std::uint64_t offset_;
};

}  // namespace ternzip::container
