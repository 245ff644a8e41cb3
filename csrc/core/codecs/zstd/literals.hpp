// The literals of a compressed block (RFC 8878, section 3.1.1.3.1).
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "core/codecs/zstd/bits.hpp"

namespace ternzip::zstd {

inline constexpr std::size_t kMaxBlockBytes = std::size_t{1} << 17;
inline constexpr unsigned kMaxCodeBits = 11;

class Literals {
 public:
  // Reads the literals section at the front of a block, remembering its Huffman codes for the next one.
  // Returns the bytes that it takes, 0 where it breaks a rule. Throws std::bad_alloc.
  std::size_t read(const std::uint8_t* block, std::size_t size);

  // Valid until the next are read, and as long as the block is.
  const std::uint8_t* data() const noexcept { return data_; }
  std::size_t size() const noexcept { return size_; }

 private:
  struct Code {
    std::uint8_t symbol, bits;
  };

  void reserve();
  std::size_t read_codes(const std::uint8_t* data, std::size_t size) noexcept;
  bool build_codes(const std::uint8_t* weights, std::size_t count) noexcept;
  // A stream of codes, and the literals that it stands for.
  struct Stream {
    BackwardBits bits;
    std::uint8_t *to, *end;
  };

  // Whether a stream has the bits and the room for as many codes as a batch of bits holds in any case.
  static constexpr std::size_t kCodesOfBatch = kBatch / kMaxCodeBits;
  static bool has_batch(const Stream& stream) noexcept {
    return stream.bits.has_batch() && stream.end - stream.to >= std::ptrdiff_t{kCodesOfBatch};
  }

  bool open(Stream& stream, const std::uint8_t* data, std::size_t size, std::size_t begin,
            std::size_t end) noexcept;
  void decode_batch(Stream& stream) const noexcept;
  bool finish(Stream& stream) const noexcept;
  bool decode_one(const std::uint8_t* data, std::size_t size) noexcept;
  bool decode_four(const std::uint8_t* data, std::size_t size) noexcept;

  bool has_codes_ = false;
  unsigned code_bits_ = 0;
  std::array<Code, std::size_t{1} << kMaxCodeBits> codes_;
  const std::uint8_t* data_ = nullptr;
  std::size_t size_ = 0;
  std::vector<std::uint8_t> bytes_;  // as many as literals took so far that are not in the block itself
};

}  // namespace ternzip::zstd
