// Where a reader gets its bytes: a file, read by position, or memory. Safe to use from several threads.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

namespace ternzip::container {

// Bytes of a file: where the source has them, or a copy.
class Bytes {
 public:
  Bytes(const std::uint8_t* data, std::size_t size) : data_(data), size_(size) {}
  explicit Bytes(std::vector<std::uint8_t> copy)
      : copy_(std::move(copy)), data_(copy_.data()), size_(copy_.size()) {}
  Bytes(Bytes&&) = default;  // the memory of a vector moves along
  Bytes& operator=(Bytes&&) = default;
  const std::uint8_t* data() const noexcept { return data_; }
  std::size_t size() const noexcept { return size_; }
  // Only the first `size` of them.
  void shorten(std::size_t size) noexcept { size_ = size; }

 private:
  std::vector<std::uint8_t> copy_;
  const std::uint8_t* data_;
  std::size_t size_;
};

class Source {
 public:
  virtual ~Source() = default;
  Source(const Source&) = delete;
  Source& operator=(const Source&) = delete;

  std::uint64_t size() const noexcept { return size_; }
  // Bytes that the caller has found to be within `size()`. Throws FileError and std::bad_alloc.
  virtual Bytes read(std::uint64_t offset, std::uint64_t size) const = 0;

 protected:
  Source() = default;
  std::uint64_t size_ = 0;
};

// Throws FileError. The path is in the encoding of the system's own functions; on Windows in UTF-8.
std::unique_ptr<Source> open_file(const char* path);

// Memory that outlives the source and does not change.
std::unique_ptr<Source> open_memory(const void* data, std::size_t size);

}  // namespace ternzip::container
