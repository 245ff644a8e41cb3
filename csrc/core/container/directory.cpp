#include "core/container/directory.hpp"

#include "core/codecs/zstd/zstd.hpp"
#include "core/container/cursor.hpp"
#include "core/container/limits.hpp"

namespace ternzip::container {
namespace {

enum Method : unsigned { kStored = 0, kZstd = 1 };

}  // namespace

std::vector<std::uint8_t> unzstd(const std::uint8_t* frame, std::size_t frame_size, std::size_t size) {
  std::vector<std::uint8_t> content(size);
  const zstd::Result result = zstd::decompress(frame, frame_size, content.data(), size);
  if (result.problem != zstd::Problem::kNone)
    throw FileError(Problem::kDamaged, zstd::message_of(result, size));
  return content;
}

std::vector<std::uint8_t> read_directory(const std::uint8_t* data, std::size_t size, std::uint64_t offset) {
  Cursor cursor(data, size, "directory", offset);
  const unsigned method = cursor.byte("method");
  const std::uint64_t expected = cursor.varint("size", most_table_bytes(size));
  const std::size_t left = cursor.remaining();
  const std::uint8_t* const body = cursor.take(left, "table");
  if (method == kZstd) {
    try {
      return unzstd(body, left, static_cast<std::size_t>(expected));
    } catch (const FileError& error) {
      cursor.fail(error.what());
    }
  }
  if (method != kStored || expected != left) {
    cursor.fail(join("expected method 1, or 0 with ", left, " bytes; found method ", method, ", ", expected,
                     " bytes"));
  }
  return {body, body + left};
}

}  // namespace ternzip::container
