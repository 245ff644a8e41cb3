#include "core/codecs/zstd/fse.hpp"

#include <bit>

namespace ternzip::zstd {

std::size_t read_counts(const std::uint8_t* data, std::size_t size, unsigned max_log, std::size_t last_symbol,
                        FseCounts& counts) noexcept {
  ForwardBits bits(data, size);
  counts.log = bits.take(4) + 5;
  if (counts.log > max_log) return 0;
  counts.symbols = 0;
  std::uint32_t remaining = 1u << counts.log;
  while (remaining > 0) {
    if (counts.symbols > last_symbol) return 0;
    // A number from 0 to remaining + 1; the lower ones take one bit less.
    const unsigned width = static_cast<unsigned>(std::bit_width(remaining + 1));
    const std::uint32_t half = 1u << (width - 1), short_ones = 2 * half - 1 - (remaining + 1);
    std::uint32_t value = bits.peek(width);
    if ((value & (half - 1)) < short_ones) {
      value &= half - 1;
      bits.skip(width - 1);
    } else {
      if (value >= half) value -= short_ones;
      bits.skip(width);
    }
    const auto count = static_cast<std::int16_t>(static_cast<int>(value) - 1);
    counts.of[counts.symbols++] = count;
    remaining -= count < 0 ? 1u : static_cast<std::uint32_t>(count);
    if (count != 0) continue;
    std::uint32_t zeros = 0;  // further symbols that do not occur, three meaning that more are stated
    do {
      zeros = bits.take(2);
      if (counts.symbols + zeros > last_symbol + 1) return 0;
      for (std::uint32_t i = 0; i < zeros; ++i) counts.of[counts.symbols++] = 0;
    } while (zeros == 3);
  }
  return bits.bytes() <= size ? bits.bytes() : 0;
}

void build_table(const FseCounts& counts, FseTable& table) noexcept {
  const std::uint32_t size = 1u << counts.log;
  table.log = counts.log;
  std::array<std::uint16_t, kFseSymbols> next;
  std::uint32_t high = size;  // from here on, cells of symbols that have just one
  for (std::size_t symbol = 0; symbol < counts.symbols; ++symbol) {
    const std::int16_t count = counts.of[symbol];
    next[symbol] = static_cast<std::uint16_t>(count < 0 ? 1 : count);
    if (count < 0) table.cells[--high].symbol = static_cast<std::uint8_t>(symbol);
  }
  const std::uint32_t step = (size >> 1) + (size >> 3) + 3;
  std::uint32_t position = 0;
  for (std::size_t symbol = 0; symbol < counts.symbols; ++symbol) {
    for (std::int16_t i = 0; i < counts.of[symbol]; ++i) {
      table.cells[position].symbol = static_cast<std::uint8_t>(symbol);
      do position = (position + step) & (size - 1);
      while (position >= high);
    }
  }
  for (std::uint32_t i = 0; i < size; ++i) {
    FseCell& cell = table.cells[i];
    const std::uint32_t state = next[cell.symbol]++;
    const unsigned bits = counts.log + 1 - static_cast<unsigned>(std::bit_width(state));
    cell.bits = static_cast<std::uint8_t>(bits);
    cell.base = static_cast<std::uint16_t>((state << bits) - size);
  }
}

}  // namespace ternzip::zstd
