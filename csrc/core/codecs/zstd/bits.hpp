// The two bit streams of Zstandard: one read forwards, and one read from its end.
#pragma once

#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdint>

#include "core/base/bytes.hpp"

namespace ternzip::zstd {

// Bits from the lowest of the first byte on; zeros beyond the end.
class ForwardBits {
 public:
  ForwardBits(const std::uint8_t* data, std::size_t size) noexcept : data_(data), size_(size) {}

  // The next n <= 16 bits, the first of them lowest.
  std::uint32_t peek(unsigned n) const noexcept {
    std::uint32_t value = 0;
    for (std::size_t i = 0; i < 3 && position_ / 8 + i < size_; ++i) {
      value |= static_cast<std::uint32_t>(data_[position_ / 8 + i]) << (8 * i);
    }
    return value >> position_ % 8 & ((1u << n) - 1);
  }
  void skip(unsigned n) noexcept { position_ += n; }
  std::uint32_t take(unsigned n) noexcept {
    const std::uint32_t value = peek(n);
    skip(n);
    return value;
  }
  // Bytes that were begun.
  std::size_t bytes() const noexcept { return (position_ + 7) / 8; }

 private:
  const std::uint8_t* data_;
  std::size_t size_;
  std::size_t position_ = 0;
};

// Bits that are taken from a word at once.
inline constexpr unsigned kBatch = 57;

// The next n of the bits of a batch, 0 < n < 64.
inline std::uint32_t top_bits(std::uint64_t batch, unsigned n) noexcept {
  return static_cast<std::uint32_t>(batch >> (64 - n));
}

// Bits from the one below the highest 1 of the last byte on, downwards; zeros beyond the start.
class BackwardBits {
 public:
  // False, and nothing to read, for bytes that hold no such 1.
  bool open(const std::uint8_t* data, std::size_t size) noexcept {
    if (size == 0 || data[size - 1] == 0) return false;
    data_ = data;
    size_ = size;
    left_ = static_cast<std::int64_t>(8 * (size - 1)) + std::bit_width(data[size - 1]) - 1;
    return true;
  }

  // The next n <= 32 bits, the first of them highest.
  std::uint32_t peek(unsigned n) const noexcept {
    const std::uint64_t mask = (std::uint64_t{1} << n) - 1;
    const std::int64_t lowest = left_ - static_cast<std::int64_t>(n);
    if (lowest < 0) {
      // Bits that are missing at the start count as zeros.
      const auto missing = static_cast<unsigned>(std::min<std::int64_t>(-lowest, 63));
      return static_cast<std::uint32_t>(left_ > 0 ? load(0) << missing & mask : 0);
    }
    const auto position = static_cast<std::size_t>(lowest);
    return static_cast<std::uint32_t>(load(position / 8) >> position % 8 & mask);
  }
  void skip(unsigned n) noexcept { left_ -= static_cast<std::int64_t>(n); }
  std::uint32_t take(unsigned n) noexcept {
    const std::uint32_t value = peek(n);
    skip(n);
    return value;
  }
  // How many bits are left; negative where more were taken than there are.
  std::int64_t left() const noexcept { return left_; }

  // Whether `batch` can be asked for.
  bool has_batch() const noexcept { return left_ >= 64; }
  // The next kBatch bits and a few more, from the highest of the word on.
  std::uint64_t batch() const noexcept {
    const auto end = static_cast<std::size_t>(left_ + 7) / 8;
    return load_le<std::uint64_t>(data_ + end - 8) << (8 * end - static_cast<std::size_t>(left_));
  }

 private:
  std::uint64_t load(std::size_t byte) const noexcept {
    if (size_ - byte >= 8) return load_le<std::uint64_t>(data_ + byte);
    std::uint64_t value = 0;
    for (std::size_t i = byte; i < size_; ++i)
      value |= static_cast<std::uint64_t>(data_[i]) << (8 * (i - byte));
    return value;
  }

  const std::uint8_t* data_ = nullptr;
  std::size_t size_ = 0;
  std::int64_t left_ = 0;
};

}  // namespace ternzip::zstd
