// Finite state entropy: tables of a decoder whose states are cells, and how their counts are stored (RFC
// 8878, section 4.1).
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "core/codecs/zstd/bits.hpp"

namespace ternzip::zstd {

inline constexpr unsigned kMaxFseLog = 9;
inline constexpr std::size_t kFseSymbols = 256;

struct FseCell {
  std::uint8_t symbol;
  std::uint8_t bits;   // to take for the next state
  std::uint16_t base;  // to which they are added
};

struct FseTable {
  unsigned log = 0;  // 2^log cells; a table of one symbol has one
  std::array<FseCell, std::size_t{1} << kMaxFseLog> cells;
};

// For each symbol its share of the cells, -1 for one cell that is reached by all bits.
struct FseCounts {
  unsigned log = 0;
  std::size_t symbols = 0;
  std::array<std::int16_t, kFseSymbols> of;
};

// Reads counts of symbols 0 to `last_symbol` from the front of `data`. Returns the bytes they take, 0 where
// they break a rule.
std::size_t read_counts(const std::uint8_t* data, std::size_t size, unsigned max_log, std::size_t last_symbol,
                        FseCounts& counts) noexcept;

// The counts add up to 2^log, -1 counting as 1.
void build_table(const FseCounts& counts, FseTable& table) noexcept;

// One state of a decoder.
class FseState {
 public:
  void start(const FseTable& table, BackwardBits& bits) noexcept {
    table_ = &table;
    cell_ = table.cells[bits.take(table.log)];
  }
  std::uint8_t symbol() const noexcept { return cell_.symbol; }
  // The bits that the next state takes.
  unsigned bits() const noexcept { return cell_.bits; }
  void next(std::uint32_t bits) noexcept { cell_ = table_->cells[cell_.base + bits]; }
  void next(BackwardBits& bits) noexcept { cell_ = table_->cells[cell_.base + bits.take(cell_.bits)]; }

 private:
  const FseTable* table_ = nullptr;
  FseCell cell_{};
};

}  // namespace ternzip::zstd
