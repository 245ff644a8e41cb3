// The parameters section of the index: strings of codec parameters, and the parameters of ternary tensors
// (docs/FORMAT.md, sections 2 and 6).
#pragma once

#include <cstddef>
#include <string_view>
#include <vector>

#include "core/container/cursor.hpp"
#include "core/container/layout.hpp"

namespace ternzip::container {

// The strings of codec parameters, as far as they were used: their numbers must come in the order of first
// use.
class CodecParameters {
 public:
  explicit CodecParameters(std::vector<std::string_view> strings) : strings_(std::move(strings)) {}
  std::size_t read_number(Cursor& cursor);
  // Refuses strings that no tensor has used, and those that occur twice.
  void check(const Cursor& cursor) const;

 private:
  std::vector<std::string_view> strings_;
  std::size_t used_ = 0;
};

// Reads the parameters of a tensor of that type and shape; every field is checked against the others. Throws
// FileError.
Ternary read_ternary(Cursor& cursor, std::uint8_t dtype, const std::vector<std::uint64_t>& shape,
                     CodecParameters& parameters);

}  // namespace ternzip::container
