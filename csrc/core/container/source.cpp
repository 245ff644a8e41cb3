#include "core/container/source.hpp"

#include <filesystem>
#include <fstream>
#include <limits>
#include <mutex>
#include <string>
#include <system_error>

#include "core/container/error.hpp"

namespace ternzip::container {
namespace {

std::filesystem::path path_of(const char* path) {
#if defined(_WIN32)
  const std::string text(path);
  return std::filesystem::path(std::u8string(text.begin(), text.end()));
#else
  return path;
#endif
}

class FileSource final : public Source {
 public:
  explicit FileSource(const char* name) {
    const std::filesystem::path path = path_of(name);
    std::error_code error;
    const std::filesystem::file_status status = std::filesystem::status(path, error);
    if (error) throw FileError(Problem::kSource, "cannot read: " + error.message());
    if (!std::filesystem::is_regular_file(status))
      throw FileError(Problem::kSource, "cannot read: not a file");
    stream_.rdbuf()->pubsetbuf(nullptr, 0);  // records are read whole
    stream_.open(path, std::ios::binary);
    if (!stream_) throw FileError(Problem::kSource, "cannot read: it does not open");
    stream_.seekg(0, std::ios::end);
    const std::streamoff end = stream_.tellg();
    if (!stream_ || end < 0) throw FileError(Problem::kSource, "cannot read: its size is not to be had");
    size_ = static_cast<std::uint64_t>(end);
  }

  Bytes read(std::uint64_t offset, std::uint64_t size) const override {
    if (size > std::numeric_limits<std::ptrdiff_t>::max()) throw std::bad_alloc();
    std::vector<std::uint8_t> data(static_cast<std::size_t>(size));
    const std::lock_guard lock(mutex_);
    stream_.clear();
    stream_.seekg(static_cast<std::streamoff>(offset));
    stream_.read(reinterpret_cast<char*>(data.data()), static_cast<std::streamsize>(size));
    if (!stream_) {
      throw FileError(Problem::kSource,
                      join("cannot read ", size, " bytes at offset ", offset, ": truncated meanwhile?"));
    }
    return Bytes(std::move(data));
  }

 private:
  mutable std::mutex mutex_;
  mutable std::ifstream stream_;
};

class MemorySource final : public Source {
 public:
  MemorySource(const void* data, std::size_t size) : data_(static_cast<const std::uint8_t*>(data)) {
    size_ = size;
  }

  Bytes read(std::uint64_t offset, std::uint64_t size) const override {
    return {data_ + static_cast<std::size_t>(offset), static_cast<std::size_t>(size)};
  }

 private:
  const std::uint8_t* data_;
};

}  // namespace

std::unique_ptr<Source> open_file(const char* path) { return std::make_unique<FileSource>(path); }

std::unique_ptr<Source> open_memory(const void* data, std::size_t size) {
  return std::make_unique<MemorySource>(data, size);
}

}  // namespace ternzip::container
