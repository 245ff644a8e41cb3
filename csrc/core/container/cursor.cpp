#include "core/container/cursor.hpp"

namespace ternzip::container {

void Cursor::fail(const std::string& message, Problem problem) const {
  const std::string place =
      offset_ == kNoOffset ? join(", byte ", position_) : join(", file offset ", offset_ + position_);
  throw FileError(problem, join(section_, place, ": ", message));
}

const std::uint8_t* Cursor::take(std::uint64_t count, const char* field) {
  if (count > remaining()) fail(join(field, ": expected ", count, " bytes, found ", remaining()));
  const std::uint8_t* const start = data_ + position_;
  position_ += static_cast<std::size_t>(count);
  return start;
}

std::uint64_t Cursor::varint(const char* field, std::uint64_t maximum) {
  constexpr unsigned kLastShift = 63;  // of the tenth byte, of which 64 bits have room for one bit
  std::uint64_t value = 0;
  for (unsigned shift = 0; shift <= kLastShift; shift += 7) {
    const std::uint64_t next = byte(field);
    if (next >= 0x80) {
      value |= (next & 0x7F) << shift;
      continue;
    }
    if (next == 0 && shift != 0) fail(join(field, ": integer not in its shortest form"));
    if (shift == kLastShift && next > 1) fail(join(field, ": expected at most ", kMaxVarint, ", found more"));
    value |= next << shift;
    if (value > maximum) fail(join(field, ": expected at most ", maximum, ", found ", value));
    return value;
  }
  fail(join(field, ": integer longer than 64 bits"));
}

void Cursor::end() const {
  if (remaining() != 0) fail(join("expected the end of the section, found ", remaining(), " further bytes"));
}

}  // namespace ternzip::container
