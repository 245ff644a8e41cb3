// Where decoded trits go.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>

#include "core/codecs/fast/kernels.hpp"
#include "core/codecs/fast/model.hpp"
#include "core/codecs/fast/records.hpp"
#include "core/tensor/element_writer.hpp"

namespace ternzip::fast {

// Trits on their way into elements: small enough to stay in the first cache level.
inline constexpr std::size_t kOutputWindow = 12288;
static_assert(kOutputWindow >= 2 * kMaxLanes * kMaxLength + kOverrun);

// Where the trits of a chunk go: straight into the output, or through a window into its elements.
class Output {
 public:
  explicit Output(std::int8_t* trits) : begin_(trits), next_(trits) {}
  explicit Output(ElementWriter& writer)
      : window_(std::make_unique_for_overwrite<std::int8_t[]>(kOutputWindow)),
        begin_(window_.get()),
        next_(begin_),
        writer_(&writer) {}

  // Opens a block of `trits`; the one before it is complete.
  void open(std::size_t trits) noexcept { left_ = trits; }
  std::size_t left() const noexcept { return left_; }  // trits the block still needs

  // Room for a whole symbol or round, and for the overrun of copied records as long as the block needs more.
  std::int8_t* next(std::size_t room) noexcept {
    if (window_ && static_cast<std::size_t>(begin_ + kOutputWindow - next_) < room) flush();
    return next_;
  }
  const std::int8_t* end() const noexcept {
    const std::size_t room = window_ ? static_cast<std::size_t>(begin_ + kOutputWindow - next_) : left_;
    return next_ + std::min(room, left_);
  }
  void advance(std::size_t trits) noexcept {
    next_ += trits;
    left_ -= trits;
  }

  // The string of a record; kMaxStride bytes can be read from its begin.
  void append(const std::uint8_t* trits, std::size_t count) noexcept {
    std::int8_t* const to = next(kMaxStride);
    if (left_ >= kMaxStride) {  // copies of constant size are moves
      constexpr std::size_t kMost = 16;
      std::memcpy(to, trits, kMost);
      if (count > kMost) std::memcpy(to + kMost, trits + kMost, kMaxStride - kMost);
    } else {
      count = std::min(count, left_);  // the last symbol of a block may reach beyond it
      std::memcpy(to, trits, count);
    }
    advance(count);
  }

  void fill(std::int8_t trit, std::size_t count) noexcept {
    open(count);
    while (left_ != 0) {
      std::int8_t* to = next(1);
      const auto room = static_cast<std::size_t>(end() - to);
      std::memset(to, static_cast<unsigned char>(trit), room);
      advance(room);
    }
    flush();
  }

  void flush() noexcept {
    if (writer_ == nullptr) return;
    writer_->write(begin_, static_cast<std::size_t>(next_ - begin_));
    next_ = begin_;
  }

 private:
  std::unique_ptr<std::int8_t[]> window_;
  std::int8_t* begin_;
  std::int8_t* next_;
  std::size_t left_ = 0;
  ElementWriter* writer_ = nullptr;
};

}  // namespace ternzip::fast
