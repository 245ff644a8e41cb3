// Compiled once per instruction set; see core/simd/isa_source.hpp for what may stand here.
#include "core/codecs/fast/parse_kernels.hpp"

#include "core/simd/isa_source.hpp"

namespace ternzip::fast {
namespace {

void group_codes(const std::int8_t* trits, std::size_t n, std::uint16_t* codes) {
  constexpr std::size_t kStep = 512;  // what is between stays in the first cache level
  std::uint8_t pairs[kStep + 6];
  std::uint8_t quads[kStep + 4];
  for (std::size_t start = 0; start < n; start += kStep) {
    const std::size_t count = n - start < kStep ? n - start : kStep;
    const std::int8_t* const x = trits + start;
    for (std::size_t i = 0; i < count + 6; ++i) {
      pairs[i] = static_cast<std::uint8_t>(3 * (x[i] + 1) + x[i + 1] + 1);
    }
    for (std::size_t i = 0; i < count + 4; ++i) {
      quads[i] = static_cast<std::uint8_t>(9 * pairs[i] + pairs[i + 2]);
    }
    for (std::size_t i = 0; i < count; ++i) {
      codes[start + i] = static_cast<std::uint16_t>(81 * quads[i] + quads[i + 4]);
    }
  }
}

}  // namespace

extern const GroupCodes TERNZIP_TABLE(kGroupCodes) = group_codes;

}  // namespace ternzip::fast
