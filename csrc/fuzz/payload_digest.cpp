// One number for the bytes that the codecs write: whatever the compiler, its flags and the processor, the
// same tensors have the same payloads. tests/test_codec_bytes.py makes the same tensors and expects the same
// number.
#include <cinttypes>
#include <cstdint>
#include <cstdio>
#include <vector>

#include "core/codecs/context/context.hpp"
#include "core/codecs/fast/fast.hpp"
#include "core/codecs/packed/packed.hpp"
#include "core/codecs/planes/huffman.hpp"

namespace {

constexpr std::uint64_t kExpected = 0x18e3639efdb086eb;

class Digest {  // FNV-1a
 public:
  void add(const std::vector<std::uint8_t>& bytes) noexcept {
    for (const std::uint8_t byte : bytes) value_ = (value_ ^ byte) * 0x100000001b3;
    value_ = (value_ ^ bytes.size() % 251) * 0x100000001b3;  // where a payload ends counts as well
  }
  std::uint64_t value() const noexcept { return value_; }

 private:
  std::uint64_t value_ = 0xcbf29ce484222325;
};

// Rows and columns that come alike in fours, noise among them, one row in eight and one column in eight
// without a nonzero.
std::vector<std::int8_t> made(const ternzip::context::Geometry& shape, unsigned zeros) {
  std::vector<std::int8_t> trits;
  std::uint32_t random = 12345;
  for (std::size_t row = 0; row < shape.rows; ++row) {
    for (std::size_t column = 0; column < shape.cols; ++column) {
      for (std::size_t k = 0; k < shape.kernel; ++k) {
        random = random * 1664525 + 1013904223;
        const bool noise = (random >> 8 & 7) == 0;
        const bool zero = (random >> 16 & 0xFF) < zeros || row % 8 == 5 || column % 8 == 3;
        const bool negative = ((row * 7 ^ column * 3 ^ k * k) >> 2 & 1) != (noise ? 1 : 0);
        trits.push_back(static_cast<std::int8_t>(zero ? 0 : negative ? -1 : 1));
      }
    }
  }
  return trits;
}

}  // namespace

int main() {
  using namespace ternzip;
  Digest digest;
  std::vector<std::uint8_t> plane;
  for (const context::Geometry shape : {context::Geometry{40, 12, 9}, {24, 10, 25}, {60, 70, 1}, {3, 2, 4}}) {
    for (const unsigned zeros : {40u, 150u, 240u}) {
      const std::vector<std::int8_t> trits = made(shape, zeros);
      TritCounts counts;
      for (const std::int8_t trit : trits) {
        ++(trit < 0 ? counts.negative : trit > 0 ? counts.positive : counts.zero);
      }
      for (const int effort : {1, 2, 3}) {
        digest.add(context::encode(trits.data(), shape, counts, static_cast<context::Effort>(effort)));
      }
      for (const unsigned lanes : {0u, 8u, 64u}) {
        digest.add(fast::encode(trits.data(), trits.size(), counts, {lanes, 10, 0, 0}));
      }
      std::vector<std::uint8_t> packed(packed_size(trits.size()));
      pack_trits(trits.data(), trits.size(), packed.data());
      digest.add(packed);
      plane.insert(plane.end(), packed.begin(), packed.end());
    }
  }
  const HuffmanPayload coded =
      huffman_encode(plane.data(), plane.size(), count_bytes(plane.data(), plane.size()));
  digest.add({coded.bytes.get(), coded.bytes.get() + coded.size});
  if (digest.value() == kExpected) return 0;
  std::fprintf(stderr, "payload_digest: expected 0x%016" PRIx64 ", found 0x%016" PRIx64 "\n", kExpected,
               digest.value());
  return 1;
}
