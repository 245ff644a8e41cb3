// Rows and columns of a chunk that have no nonzero: named once, they cost nothing more, and the model sees
// what is left as if they had never been there.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "core/codecs/context/context.hpp"

namespace ternzip::context {

class Living {
 public:
  // Everything lives.
  explicit Living(const Geometry& whole) : whole_(whole), rows_(whole.rows), columns_(whole.cols) {
    count_left();
  }
  // What of a chunk does.
  Living(const Geometry& whole, const std::int8_t* trits) : Living(whole) {
    std::fill(rows_.begin(), rows_.end(), kDead);
    std::fill(columns_.begin(), columns_.end(), kDead);
    for (std::size_t row = 0; row < whole.rows; ++row) {
      for (std::size_t column = 0; column < whole.cols; ++column, trits += whole.kernel) {
        unsigned any = 0;  // of the kernel's bits
        for (std::size_t k = 0; k < whole.kernel; ++k) any |= static_cast<std::uint8_t>(trits[k]);
        const std::uint8_t lives = any != 0 ? kAlive : kDead;
        static_assert(kAlive < kDead);
        rows_[row] = std::min(rows_[row], lives);
        columns_[column] = std::min(columns_[column], lives);
      }
    }
    count_left();
  }

  bool all() const noexcept { return left_.rows == whole_.rows && left_.cols == whole_.cols; }
  const Geometry& left() const noexcept { return left_; }

  // Of a tensor's counts, those that its living part is likely to have: exact if the tensor is one chunk.
  TritCounts counts(const TritCounts& tensor) const noexcept {
    if (all() || tensor.zero == 0) return tensor;
    const std::size_t dead = whole_.size() - left_.size();
    const std::uint64_t chunks = (tensor.negative + tensor.zero + tensor.positive) / whole_.size();
    const std::uint64_t zeros = tensor.zero - std::min(tensor.zero, dead * chunks);
    return {tensor.negative, std::max<std::uint64_t>(zeros, 1), tensor.positive};
  }

  // As many bits as `code` takes at most.
  std::size_t most_bits() const noexcept { return 1 + whole_.rows + whole_.cols; }

  // Names the dead, in a decoder those that its payload names.
  template <class Coder>
  void code(Coder& coder) {
    if (!coder.code(kSomeDead, !all())) return;
    code(coder, rows_);
    code(coder, columns_);
    count_left();
  }

  // `part` has room for what is left.
  void gather(const std::int8_t* trits, std::int8_t* part) const {
    for (std::size_t row = 0; row < whole_.rows; ++row, trits += whole_.cols * whole_.kernel) {
      if (rows_[row] == kDead) continue;
      for (auto at = columns_.begin(); at != columns_.end();) {  // runs of columns that live
        const auto first = std::find(at, columns_.end(), kAlive);
        at = std::find(first, columns_.end(), kDead);
        part =
            std::copy(trits + weight(first - columns_.begin()), trits + weight(at - columns_.begin()), part);
      }
    }
  }
  // The other way, in place: from the beginning of `trits`, which has room for the whole. It goes backwards,
  // so that nothing is overwritten before it has moved.
  void scatter(std::int8_t* trits) const {
    if (all()) return;
    const std::size_t width = whole_.cols * whole_.kernel;
    std::int8_t* part = trits + left_.size();
    for (std::size_t row = whole_.rows; row-- > 0;) {
      std::int8_t* const out = trits + row * width;
      std::int8_t* written = out + width;
      if (rows_[row] == kAlive) {
        for (auto at = columns_.rbegin(); at != columns_.rend();) {
          const auto last = std::find(at, columns_.rend(), kAlive);
          at = std::find(last, columns_.rend(), kDead);
          const std::size_t begin = weight(columns_.rend() - at), end = weight(columns_.rend() - last);
          std::int8_t* const part_end = part;
          part -= end - begin;
          std::copy_backward(part, part_end, out + end);
          std::fill(out + end, written, std::int8_t{0});
          written = out + begin;
        }
      }
      std::fill(out, written, std::int8_t{0});
    }
  }

 private:
  static constexpr std::uint8_t kAlive = 0, kDead = 1;
  static constexpr std::uint32_t kSomeDead = 2048;  // Q16: seldom

  // By the rates so far, as Krichevsky and Trofimov estimate them.
  template <class Coder>
  static void code(Coder& coder, std::vector<std::uint8_t>& lives) {
    std::uint64_t dead = 0, seen = 0;
    for (std::uint8_t& life : lives) {
      const std::uint64_t rate = ((2 * dead + 1) << 16) / (2 * seen + 2);
      life = static_cast<std::uint8_t>(
          coder.code(static_cast<std::uint32_t>(std::max<std::uint64_t>(rate, 1)), life == kDead));
      dead += life;
      ++seen;
    }
  }

  std::size_t weight(std::ptrdiff_t column) const noexcept {
    return static_cast<std::size_t>(column) * whole_.kernel;
  }

  void count_left() {
    const auto count = [](const std::vector<std::uint8_t>& lives) {
      return static_cast<std::size_t>(std::count(lives.begin(), lives.end(), kAlive));
    };
    left_ = {count(rows_), count(columns_), whole_.kernel};
    // A payload may say that rows live and no column does: there is nothing to go through then.
    if (left_.rows == 0 || left_.cols == 0) left_.rows = left_.cols = 0;
  }

  Geometry whole_, left_;
  std::vector<std::uint8_t> rows_, columns_;
};

}  // namespace ternzip::context
