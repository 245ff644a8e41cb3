// The directory as it is stored: its table, compressed or not (docs/FORMAT.md, section 2).
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace ternzip::container {

// Decompresses one zstd frame of exactly `size` bytes, which the caller has bounded, or throws a FileError
// that begins with "zstd".
std::vector<std::uint8_t> unzstd(const std::uint8_t* frame, std::size_t frame_size, std::size_t size);

// The table of a directory that lies at `offset` of the file. Throws FileError.
std::vector<std::uint8_t> read_directory(const std::uint8_t* data, std::size_t size, std::uint64_t offset);

}  // namespace ternzip::container
