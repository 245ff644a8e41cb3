// The limits of the format (docs/FORMAT.md, section 10), and what follows from the size of a directory.
#pragma once

#include <cstddef>
#include <cstdint>

namespace ternzip::container {

inline constexpr std::uint64_t kMaxDimensions = 64;
inline constexpr std::uint64_t kMaxTensorBytes = (std::uint64_t{1} << 63) - 1;  // lengths of 0 counted as 1
inline constexpr std::uint64_t kMaxNameBytes = std::uint64_t{1} << 16;
inline constexpr std::uint64_t kMaxCodecParameterBytes = (std::uint64_t{1} << 16) - 1;
inline constexpr std::uint64_t kMaxExtensions = 256;
inline constexpr std::uint64_t kMaxExtensionNameBytes = 255;
inline constexpr std::uint64_t kMaxExpansion = std::uint64_t{1}
                                               << 19;  // symbols or bytes that a byte stands for
inline constexpr std::uint64_t kMaxSolidTensorBytes = (std::uint64_t{1} << 16) - 1;
inline constexpr std::uint64_t kMaxSolidBlockBytes = std::uint64_t{1} << 20;
inline constexpr std::uint64_t kMaxPlanesBytes = std::uint64_t{1} << 22;
inline constexpr std::uint64_t kMaxChunkSymbols = std::uint64_t{1} << 22;
inline constexpr std::uint64_t kMinLevelBlockElements = 2;  // on average

constexpr std::uint64_t most_table_bytes(std::uint64_t directory) noexcept { return 128 * directory + 65536; }
constexpr std::uint64_t most_entries(std::uint64_t directory) noexcept { return 65536 + directory / 4; }

constexpr std::uint64_t ceil_div(std::uint64_t a, std::uint64_t b) noexcept {
  return a / b + (a % b != 0 ? 1 : 0);
}

}  // namespace ternzip::container
