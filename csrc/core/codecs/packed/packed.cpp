#include "core/codecs/packed/packed.hpp"

#include <array>
#include <cstring>

#include "core/base/bytes.hpp"

namespace ternzip {
namespace {

constexpr unsigned kLargest = 242;

// With digits d_j in the bytes of x, lowest first, x * kWeights holds sum of d_j 3^j in byte 4: every
// partial sum is at most 242, so no byte carries into the next.
constexpr std::uint64_t kWeights = 1ull << 32 | 3ull << 24 | 9ull << 16 | 27ull << 8 | 81ull;
constexpr std::uint64_t kOnes = 0x0101010101ull;
constexpr std::uint64_t kFive = 0xffffffffffull;

// Adding 1 to each byte without carries between them: -1 (0xff) must wrap to 0 on its own.
constexpr std::uint8_t pack_five(std::uint64_t trits) noexcept {
  const std::uint64_t low = (trits & 0x7f7f7f7f7full) + kOnes;
  const std::uint64_t digits = (low ^ (trits & 0x8080808080ull)) & kFive;
  return static_cast<std::uint8_t>(digits * kWeights >> 32);
}

constexpr std::array<std::uint64_t, 256> make_digits() noexcept {
  std::array<std::uint64_t, 256> table{};
  for (unsigned byte = 0; byte <= kLargest; ++byte) {
    unsigned rest = byte;
    for (unsigned j = 0; j < 5; ++j) {
      table[byte] |= static_cast<std::uint64_t>((rest % 3 + 0xffu) & 0xffu) << (8 * j);
      rest /= 3;
    }
  }
  return table;
}
constexpr auto kDigits = make_digits();

}  // namespace

void pack_trits(const std::int8_t* trits, std::size_t n, std::uint8_t* packed) noexcept {
  const auto* bytes = reinterpret_cast<const std::uint8_t*>(trits);
  const std::size_t whole = n / 5;
  // Loads of eight bytes as long as they stay inside the source.
  const std::size_t wide = n >= 8 ? (n - 8) / 5 + 1 : 0;
  std::size_t i = 0;
  for (; i < wide && i < whole; ++i) packed[i] = pack_five(load_le<std::uint64_t>(bytes + 5 * i));
  for (; i < packed_size(n); ++i) {
    std::array<std::uint8_t, 8> last{};
    std::memcpy(last.data(), bytes + 5 * i, i < whole ? 5 : n % 5);
    packed[i] = pack_five(load_le<std::uint64_t>(last.data()));
  }
}

bool unpack_trits(const std::uint8_t* packed, std::size_t n, std::int8_t* trits) noexcept {
  auto* bytes = reinterpret_cast<std::uint8_t*>(trits);
  const std::size_t whole = n / 5;
  const std::size_t wide = n >= 8 ? (n - 8) / 5 + 1 : 0;
  bool valid = true;
  std::size_t i = 0;
  for (; i < wide && i < whole; ++i) {
    store_le<std::uint64_t>(bytes + 5 * i, kDigits[packed[i]]);
    valid &= packed[i] <= kLargest;
  }
  for (; i < packed_size(n); ++i) {
    std::array<std::uint8_t, 8> last;
    store_le<std::uint64_t>(last.data(), kDigits[packed[i]]);
    const std::size_t kept = i < whole ? 5 : n % 5;
    std::memcpy(bytes + 5 * i, last.data(), kept);
    valid &= packed[i] <= kLargest;
    for (std::size_t j = kept; j < 5; ++j) valid &= last[j] == 0;
  }
  return valid;
}

bool unpack_bits(const std::uint8_t* packed, std::size_t n, std::int8_t low, std::int8_t high,
                 std::int8_t* trits) noexcept {
  for (std::size_t i = 0; i < n; ++i) trits[i] = (packed[i / 8] >> i % 8 & 1) != 0 ? high : low;
  return n % 8 == 0 || packed[n / 8] >> n % 8 == 0;
}

}  // namespace ternzip
