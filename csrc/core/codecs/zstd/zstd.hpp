// Decompresses Zstandard frames of RFC 8878, those that a .tnz file may hold (docs/FORMAT.md, section 2): one
// frame that states neither its content size nor a dictionary, with a window of at most 8 MiB. There is no
// compressor here.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

namespace ternzip::zstd {

inline constexpr std::size_t kMaxWindowBytes = std::size_t{1} << 23;

enum class Problem {
  kNone,
  kStated,     // not a frame, or one with the single segment flag, a content size or a dictionary
  kWindow,     // a window beyond kMaxWindowBytes
  kTruncated,  // the frame ends within a part
  kDamaged,    // a rule of RFC 8878 is broken
  kChecksum,   // the content has another checksum
  kTooLong,    // more bytes than were asked for
  kTooShort,   // fewer: `count` of them
  kTrailing,   // `count` bytes follow the frame
};

struct Result {
  Problem problem = Problem::kNone;
  std::size_t count = 0;
};

// What is wrong with a frame whose content was to be of `size` bytes, in words; empty where nothing is.
std::string message_of(const Result& result, std::size_t size);

// Fills out[0 .. size) with the content of the frame, which must have that size; where there is a problem,
// what `out` holds is unspecified. Any input ends in time bounded by both sizes. Throws std::bad_alloc, for
// at most some 150 KB.
Result decompress(const std::uint8_t* frame, std::size_t frame_size, std::uint8_t* out, std::size_t size);

}  // namespace ternzip::zstd
