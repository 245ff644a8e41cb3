// The inner loop of the `fast` parser: one function per instruction set, from parse_kernels.cpp.
#pragma once

#include <cstddef>
#include <cstdint>

namespace ternzip::fast {

// Trits are looked up eight at a time, by their value as a number of base 3, the first trit highest.
inline constexpr unsigned kGroup = 8;
inline constexpr std::size_t kGroupValues = 6561;

// codes[i] becomes the number of the group that begins at trits[i]; reads n + kGroup - 1 trits.
using GroupCodes = void (*)(const std::int8_t* trits, std::size_t n, std::uint16_t* codes);

extern const GroupCodes kGroupCodesBaseline;
#if defined(TERNZIP_X86)
extern const GroupCodes kGroupCodesAvx2;
extern const GroupCodes kGroupCodesAvx512;
#endif

}  // namespace ternzip::fast
