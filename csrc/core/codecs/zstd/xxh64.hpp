// XXH64 with seed 0, the checksum of a frame's content.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>

#include "core/base/bytes.hpp"

namespace ternzip::zstd {

inline std::uint64_t xxh64(const std::uint8_t* data, std::size_t size) noexcept {
  constexpr std::uint64_t kPrime1 = 0x9E3779B185EBCA87u, kPrime2 = 0xC2B2AE3D27D4EB4Fu,
                          kPrime3 = 0x165667B19E3779F9u, kPrime4 = 0x85EBCA77C2B2AE63u,
                          kPrime5 = 0x27D4EB2F165667C5u;
  const auto mix = [](std::uint64_t lane, std::uint64_t input) {
    return std::rotl(lane + input * kPrime2, 31) * kPrime1;
  };
  const std::uint8_t* const end = data + size;
  std::uint64_t hash = kPrime5;
  if (size >= 32) {
    std::uint64_t lanes[4] = {kPrime1 + kPrime2, kPrime2, 0, 0 - kPrime1};
    for (; end - data >= 32; data += 32) {
      for (std::size_t i = 0; i < 4; ++i) lanes[i] = mix(lanes[i], load_le<std::uint64_t>(data + 8 * i));
    }
    hash =
        std::rotl(lanes[0], 1) + std::rotl(lanes[1], 7) + std::rotl(lanes[2], 12) + std::rotl(lanes[3], 18);
    for (const std::uint64_t lane : lanes) hash = (hash ^ mix(0, lane)) * kPrime1 + kPrime4;
  }
  hash += size;
  for (; end - data >= 8; data += 8) {
    hash = std::rotl(hash ^ mix(0, load_le<std::uint64_t>(data)), 27) * kPrime1 + kPrime4;
  }
  if (end - data >= 4) {
    hash = std::rotl(hash ^ load_le<std::uint32_t>(data) * kPrime1, 23) * kPrime2 + kPrime3;
    data += 4;
  }
  for (; data != end; ++data) hash = std::rotl(hash ^ *data * kPrime5, 11) * kPrime1;
  hash = (hash ^ hash >> 33) * kPrime2;
  hash = (hash ^ hash >> 29) * kPrime3;
  return hash ^ hash >> 32;
}

}  // namespace ternzip::zstd
