// One open .tnz file: its index is checked whole on opening, then any tensor can be had alone, in memory that
// the caller gives. Every function but the constructor is safe to call from several threads at once.
//
// All throw FileError, whose message says where: tensor, offset; and std::bad_alloc. Memory beside the
// caller's is bounded by the size of the file and of what is asked for.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string_view>
#include <vector>

#include "core/container/index.hpp"
#include "core/container/levels.hpp"
#include "core/container/source.hpp"

namespace ternzip::container {

class Reader {
 public:
  // No call decodes a tensor, or reads an extension, of more bytes in memory than `max_bytes`.
  Reader(std::unique_ptr<Source> source, std::uint64_t max_bytes, Checksums checksums = Checksums::kChecked);

  const Index& index() const noexcept { return index_; }
  std::uint64_t file_bytes() const noexcept { return source_->size(); }
  // Bytes of all tensors in memory, tied ones counted once; the largest number where they are more.
  std::uint64_t decoded_bytes() const noexcept;

  // The number of a tensor.
  std::size_t find(std::string_view name) const;
  // The tensor that holds the elements of another: itself, or what it is tied to.
  const Entry& stored(std::size_t number) const;
  // The tensor that holds the symbols of a ternary one.
  const Entry& ternary(std::size_t number) const;
  // Whether this version knows how a tensor is coded.
  bool is_readable(std::size_t number) const;

  // out[bytes of the tensor]: its elements.
  void read(std::size_t number, void* out) const;
  // out[elements]: the symbols of a ternary tensor. Signs of zeros are left out.
  void read_trits(std::size_t number, std::int8_t* out) const;
  std::vector<std::int8_t> read_trits(std::size_t number) const;
  // The levels of a ternary tensor, one of each sign for each block of its grid.
  Levels read_levels(std::size_t number) const;
  const Extension& extension(std::size_t number) const;
  // out[bytes of the extension].
  void read_extension(std::size_t number, std::uint8_t* out) const;
  // Reads everything and drops it, where all tensors together are within the limit.
  void verify() const;

 private:
  struct DecodedBlock {
    std::size_t number;
    std::vector<std::uint8_t> bytes;
  };

  void check_limit(const std::string& what, std::uint64_t bytes) const;
  void check_codecs(const Entry& entry) const;
  Bytes payload(const Record& record) const;
  void read_planes(const Entry& entry, std::uint8_t* out) const;
  void read_solid(const Entry& entry, std::uint8_t* out) const;
  std::shared_ptr<const DecodedBlock> solid_block(std::size_t number) const;
  Levels levels_of(const Entry& entry) const;
  void decode_trits(const Entry& entry, int dtype, const Levels& levels, void* out) const;
  void restore_zero_signs(const Entry& entry, void* out) const;

  std::unique_ptr<Source> source_;
  std::uint64_t max_bytes_;
  Checksums checksums_;
  Index index_;
  // The solid block that was decoded last: its members are mostly asked for one after the other.
  mutable std::mutex cache_mutex_;
  mutable std::shared_ptr<const DecodedBlock> cache_;
};

}  // namespace ternzip::container
