#include "core/container/block.hpp"

#include <array>

#include "core/codecs/planes/huffman.hpp"
#include "core/codecs/planes/planes.hpp"
#include "core/codecs/planes/zeros.hpp"
#include "core/container/cursor.hpp"
#include "core/container/directory.hpp"
#include "core/container/source.hpp"

namespace ternzip::container {
namespace {

enum Method : unsigned { kStored = 0, kZstd = 1, kHuffman = 2, kConstant = 3, kSparse = 4 };

[[noreturn]] void refuse(const std::string& message) { throw FileError(Problem::kDamaged, message); }

Bytes decode_plane(unsigned method, const std::uint8_t* stream, std::size_t length, std::size_t size);

Bytes decode_sparse(const std::uint8_t* stream, std::size_t length, std::size_t size) {
  Cursor cursor(stream, length, "sparse plane");
  const unsigned method = cursor.byte("method of the bitmap");
  const std::uint64_t coded_bytes = cursor.varint("length of the bitmap");
  const std::uint8_t* const coded = cursor.take(coded_bytes, "bitmap");
  const unsigned rest_method = cursor.byte("method of the rest");
  if (method == kSparse || rest_method == kSparse) refuse("sparse plane: expected no sparse plane within");
  const Bytes bitmap = decode_plane(method, coded, static_cast<std::size_t>(coded_bytes), (size + 7) / 8);
  std::size_t ones = 0;
  if (!count_bitmap(bitmap.data(), size, ones) || ones == 0) {
    refuse(join("sparse plane: expected some of the first ", size, " bits, and no others"));
  }
  const std::size_t left = cursor.remaining();
  const Bytes rest = decode_plane(rest_method, cursor.take(left, "rest"), left, ones);
  std::vector<std::uint8_t> plane(size);
  if (!merge_zeros(bitmap.data(), rest.data(), ones, size, plane.data())) {
    refuse("sparse plane: the bitmap changed while it was read");
  }
  return Bytes(std::move(plane));
}

// The `size` bytes of a plane; a stored one is not copied.
Bytes decode_plane(unsigned method, const std::uint8_t* stream, std::size_t length, std::size_t size) {
  switch (method) {
    case kStored:
      if (length != size) refuse(join("plane: expected ", size, " stored bytes, found ", length));
      return {stream, length};
    case kZstd: return Bytes(unzstd(stream, length, size));
    case kHuffman: {
      std::vector<std::uint8_t> plane(size);
      if (!huffman_decode(stream, length, plane.data(), size)) {
        refuse(join("plane: ", length, " bytes of Huffman codes cannot stand for ", size, " bytes"));
      }
      return Bytes(std::move(plane));
    }
    case kConstant:
      if (length != 1) refuse(join("plane: expected 1 byte for a constant plane, found ", length));
      return Bytes(std::vector<std::uint8_t>(size, *stream));
    case kSparse: return decode_sparse(stream, length, size);
    default: refuse(join("plane: expected method 0 to ", unsigned{kSparse}, ", found ", method));
  }
}

void decode_run(Cursor& cursor, const Run& run, std::uint8_t* out) {
  constexpr unsigned kMaxWidth = 8;
  const std::size_t count = run.bytes / run.width;
  const unsigned rotation = cursor.byte("rotation");
  if (rotation >= 8 * run.width)
    refuse(join("block: expected a rotation below ", 8 * run.width, ", found ", rotation));
  std::vector<Bytes> planes;
  std::array<const std::uint8_t*, kMaxWidth> addresses{};
  planes.reserve(run.width);
  for (unsigned i = 0; i < run.width; ++i) {
    const unsigned method = cursor.byte("plane method");
    const std::uint64_t length = cursor.varint("plane length");
    const std::uint8_t* const stream = cursor.take(length, "plane");
    planes.push_back(decode_plane(method, stream, static_cast<std::size_t>(length), count));
    addresses[i] = planes.back().data();
  }
  merge_planes(addresses.data(), count, run.width, rotation, out);
}

}  // namespace

void decode_block(const std::uint8_t* block, std::size_t size, const std::vector<Run>& runs,
                  std::uint8_t* out) {
  Cursor cursor(block, size, "block");
  for (const Run& run : runs) {
    decode_run(cursor, run, out);
    out += run.bytes;
  }
  cursor.end();
}

}  // namespace ternzip::container
