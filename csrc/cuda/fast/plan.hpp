// What the CPU does before a device decodes a tensor by `fast`: reads and checks all headers, grows the
// models.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "core/base/trit_counts.hpp"
#include "cuda/fast/batch.hpp"
#include "cuda/target.hpp"

namespace ternzip::cuda {

// One chunk's payload, and the first of its n elements in the tensor.
struct FastChunk {
  const std::uint8_t* payload;
  std::size_t size;
  std::size_t n;
  std::uint64_t out;
};

// The elements of a tensor: patterns of `element_size` bytes, the levels for all or by row.
struct FastElements {
  void* out;
  unsigned element_size;
  std::uint64_t negative, zero, positive;
  const std::uint64_t* row_negative;  // null, or on the device
  const std::uint64_t* row_positive;
  std::uint64_t cols;
};

// The blocks and tables of a tensor and the payloads of its chunks, as one stretch of bytes for the device.
class FastUpload {
 public:
  // False if the CPU's decoder would refuse a chunk for what its headers say, or is to decode all of them
  // because one is a short payload, so small that a device would not be quicker; then nothing else may be
  // called.
  bool read(std::vector<FastChunk> chunks, const TritCounts& counts);

  std::size_t size() const noexcept { return payload_begin() + payload_size_; }
  // Bytes that decoding needs on the device beside these.
  std::size_t scratch_size() const noexcept { return tables_.size() << slot_bits_; }
  std::size_t chunk_count() const noexcept { return chunks_.size(); }

  // Writes size() bytes; their copy on the device must lie on a boundary of 16.
  void write(std::uint8_t* to) const;

  // Decodes the copy `upload`. counts: four a chunk on the device, which become -1, 0, +1, and how many
  // blocks were refused; with any of these the elements are unspecified.
  void decode(const std::uint8_t* upload, std::uint8_t* scratch, const FastElements& elements,
              std::int64_t* counts, const Target& target) const;

 private:
  bool read_chunk(const FastChunk& chunk, const TritCounts& counts);
  std::size_t payload_begin() const noexcept {
    return tables_.size() * sizeof(FastTable) + blocks_.size() * sizeof(FastBlock);
  }

  std::vector<FastChunk> chunks_;
  std::vector<FastTable> tables_;
  std::vector<FastBlock> blocks_;
  std::size_t payload_size_ = 0;
  unsigned slot_bits_ = 0;
};

}  // namespace ternzip::cuda
