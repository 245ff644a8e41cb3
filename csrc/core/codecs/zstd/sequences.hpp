// The sequences of a compressed block (RFC 8878, section 3.1.1.3.2): how many literals to copy, then how many
// bytes from how far back.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "core/codecs/zstd/fse.hpp"
#include "core/codecs/zstd/literals.hpp"

namespace ternzip::zstd {

class Sequences {
 public:
  // Runs the sequences section that fills block[0 .. size): writes at most `room` bytes behind the `produced`
  // ones at `out`, of which it may copy the last `window`, and returns how many, or kDamaged. Tables and
  // offsets are remembered for the next block.
  static constexpr std::size_t kDamaged = ~std::size_t{0};
  std::size_t run(const std::uint8_t* block, std::size_t size, const Literals& literals, std::uint8_t* out,
                  std::size_t produced, std::size_t room, std::size_t window) noexcept;

 private:
  struct Kind;  // literal lengths, offsets or match lengths
  struct Memory {
    FseTable table;
    bool is_known = false;
  };

  static std::size_t read_table(const std::uint8_t* data, std::size_t size, unsigned mode, const Kind& kind,
                                Memory& memory) noexcept;
  std::size_t next_offset(std::uint32_t code, std::uint32_t extra, bool has_literals) noexcept;

  std::array<Memory, 3> memories_;
  std::array<std::size_t, 3> offsets_{1, 4, 8};  // the last ones, the newest first
};

}  // namespace ternzip::zstd
