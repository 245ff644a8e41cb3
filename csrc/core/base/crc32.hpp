// The CRC-32 of IEEE 802.3, as zlib and PNG have it.
#pragma once

#include <cstddef>
#include <cstdint>

namespace ternzip {

std::uint32_t crc32(const std::uint8_t* data, std::size_t size) noexcept;

}  // namespace ternzip
