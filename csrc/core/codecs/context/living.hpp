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
    const std::vector<Run> runs = living_columns();
    for (std::size_t row = 0; row < whole_.rows; ++row, trits += whole_.cols * whole_.kernel) {
      if (rows_[row] == kDead) continue;
      for (const Run& run : runs) part = std::copy(trits + run.begin, trits + run.end, part);
    }
  }
  // The other way, in place: from the beginning of `trits`, which has room for the whole. It goes backwards,
  // so that nothing is overwritten before it has moved.
  void scatter(std::int8_t* trits) const {
    if (all()) return;
    const std::vector<Run> runs = living_columns();
    const std::size_t width = whole_.cols * whole_.kernel;
    std::int8_t* part = trits + left_.size();
    for (std::size_t row = whole_.rows; row-- > 0;) {
      std::int8_t* const out = trits + row * width;
      std::int8_t* written = out + width;
      if (rows_[row] == kAlive) {
        for (auto run = runs.rbegin(); run != runs.rend(); ++run) {
          std::int8_t* const end = part;
          part -= run->end - run->begin;
          std::copy_backward(part, end, out + run->end);
          std::fill(out + run->end, written, std::int8_t{0});
          written = out + run->begin;
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

  // Neighbouring columns that live, as places in a row.
  struct Run {
    std::size_t begin, end;
  };
  std::vector<Run> living_columns() const {
    std::vector<Run> runs;
    for (std::size_t column = 0; column < whole_.cols; ++column) {
      if (columns_[column] == kDead) continue;
      const std::size_t begin = column * whole_.kernel;
      if (runs.empty() || runs.back().end != begin) runs.push_back({begin, begin});
      runs.back().end += whole_.kernel;
    }
    return runs;
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
