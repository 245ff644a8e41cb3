// The whole index of a file, checked: whatever follows from it is within the file, and may be relied on.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "core/container/layout.hpp"

namespace ternzip::container {

inline constexpr std::size_t kPreambleBytes = 32;

// Whether what a checksum covers is compared with it. Only fuzzers pass over them: what they make up would
// end there.
enum class Checksums { kChecked, kIgnored };

struct Preamble {
  std::uint64_t index_offset;
  std::uint32_t parameter_bytes;
  std::uint32_t directory_bytes;
  std::uint32_t index_crc;
};

struct Extension {
  std::string name;
  Record record;
};

struct Index {
  std::vector<Entry> entries;
  std::vector<std::size_t> by_name;  // numbers of the entries, in the order of their names' bytes
  std::vector<SolidBlock> blocks;
  std::vector<std::uint64_t> codec_parameter_bytes;  // of each string
  std::vector<std::pair<std::string, std::string>> metadata;
  std::vector<Extension> extensions;
};

// `size` bytes, at most the first 32 of a file of `file_size`. Throws FileError.
Preamble read_preamble(const std::uint8_t* data, std::size_t size, std::uint64_t file_size,
                       Checksums checksums);

// `data` are the parameters and the directory, whose checksum is right. Throws FileError and std::bad_alloc;
// memory is bounded by the file's size.
Index read_index(const std::uint8_t* data, const Preamble& preamble);

}  // namespace ternzip::container
