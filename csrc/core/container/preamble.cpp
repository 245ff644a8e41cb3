#include <algorithm>
#include <array>
#include <cstring>

#include "core/base/bytes.hpp"
#include "core/base/crc32.hpp"
#include "core/container/error.hpp"
#include "core/container/index.hpp"

namespace ternzip::container {
namespace {

constexpr std::array<std::uint8_t, 8> kMagic{0x89, 'T', 'N', 'Z', 1, '\r', '\n', 0x1A};
constexpr std::size_t kVersionAt = 4, kCrcAt = 28;

std::string digits(const std::uint8_t* bytes, std::size_t count) {
  std::string text;
  for (std::size_t i = 0; i < count; ++i) text += hexadecimal(bytes[i], 2).substr(2);
  return text;
}

[[noreturn]] void fail(const std::string& message, Problem problem = Problem::kDamaged) {
  throw FileError(problem, message);
}

}  // namespace

Preamble read_preamble(const std::uint8_t* data, std::size_t size, std::uint64_t file_size,
                       Checksums checksums) {
  const std::size_t shown = std::min(size, kMagic.size());
  if (size < kVersionAt || std::memcmp(data, kMagic.data(), kVersionAt) != 0) {
    fail(join("offset 0: expected a .tnz file starting with ", digits(kMagic.data(), kMagic.size()),
              ", found ", digits(data, shown)));
  }
  if (size > kVersionAt && data[kVersionAt] != kMagic[kVersionAt]) {
    fail(join("offset 4: format version ", data[kVersionAt], ", this ternzip reads version ",
              kMagic[kVersionAt], ": upgrade ternzip"),
         Problem::kUnsupported);
  }
  if (size < kPreambleBytes) fail(join("offset ", size, ": truncated: expected a preamble of 32 bytes"));
  if (std::memcmp(data, kMagic.data(), kMagic.size()) != 0) {
    fail(join("offset 0: expected the magic ", digits(kMagic.data(), kMagic.size()), ", found ",
              digits(data, shown)));
  }
  const std::uint32_t crc = crc32(data, kCrcAt), stated = load_le<std::uint32_t>(data + kCrcAt);
  if (crc != stated && checksums == Checksums::kChecked) {
    fail(join("offset 28: preamble checksum: expected ", hexadecimal(stated, 8), ", found ",
              hexadecimal(crc, 8)));
  }
  const Preamble preamble{load_le<std::uint64_t>(data + 8), load_le<std::uint32_t>(data + 16),
                          load_le<std::uint32_t>(data + 20), load_le<std::uint32_t>(data + 24)};
  if (preamble.index_offset < kPreambleBytes) {
    fail(join("offset 8: index offset: expected at least 32, found ", preamble.index_offset));
  }
  const std::uint64_t index_bytes = std::uint64_t{preamble.parameter_bytes} + preamble.directory_bytes;
  const bool overflows = preamble.index_offset > ~index_bytes;
  const std::uint64_t end = preamble.index_offset + index_bytes;
  if (overflows || end > file_size) {
    fail(join("offset ", file_size, ": truncated: expected ", overflows ? "more than 2^64" : join(end),
              " bytes, found ", file_size));
  }
  if (end < file_size) {
    fail(join("offset ", end, ": further bytes after its end: expected ", end, " bytes, found ", file_size));
  }
  return preamble;
}

}  // namespace ternzip::container
