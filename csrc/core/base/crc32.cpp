#include "core/base/crc32.hpp"

#include <array>

#include "core/base/bytes.hpp"

namespace ternzip {
namespace {

using Table = std::array<std::uint32_t, 256>;
constexpr std::size_t kStride = 8;

// tables[k][b]: what byte b contributes to the remainder when k more bytes follow it.
constexpr std::array<Table, kStride> make_tables() noexcept {
  std::array<Table, kStride> tables{};
  for (std::uint32_t byte = 0; byte < 256; ++byte) {
    std::uint32_t remainder = byte;
    for (int bit = 0; bit < 8; ++bit) {
      remainder = remainder >> 1 ^ (remainder & 1 ? 0xEDB88320u : 0u);  // the polynomial, bits reversed
    }
    tables[0][byte] = remainder;
  }
  for (std::size_t k = 1; k < kStride; ++k) {
    for (std::size_t byte = 0; byte < 256; ++byte) {
      const std::uint32_t before = tables[k - 1][byte];
      tables[k][byte] = before >> 8 ^ tables[0][before & 0xFF];
    }
  }
  return tables;
}
constexpr auto kTables = make_tables();

}  // namespace

std::uint32_t crc32(const std::uint8_t* data, std::size_t size) noexcept {
  std::uint32_t remainder = 0xFFFFFFFFu;
  for (; size >= kStride; data += kStride, size -= kStride) {
    const std::uint64_t bytes = load_le<std::uint64_t>(data) ^ remainder;
    remainder = 0;
    for (std::size_t i = 0; i < kStride; ++i) remainder ^= kTables[kStride - 1 - i][bytes >> (8 * i) & 0xFF];
  }
  for (; size != 0; ++data, --size) remainder = remainder >> 8 ^ kTables[0][(remainder ^ *data) & 0xFF];
  return ~remainder;
}

}  // namespace ternzip
