// The CUDA decoder, emulated on the CPU, against the CPU's own: any payload, and damaged ones of every kind.
#include "core/codecs/fast/fast.hpp"
#include "cuda/fast/plan.hpp"
#include "fuzz/input.hpp"

namespace ternzip::fuzz {
namespace {

struct Decoded {
  bool accepted = false;
  std::vector<std::uint16_t> elements;
};

Decoded on_device(const std::vector<std::uint8_t>& payload, std::size_t n, const TritCounts& counts,
                  bool reversed) {
  Decoded decoded;
  cuda::FastUpload upload;
  if (!upload.read({{payload.data(), payload.size(), n, 0}}, counts)) return decoded;
  // Of the exact sizes, so that the sanitizer sees the first byte beyond.
  std::vector<std::uint8_t> sent(upload.size()), scratch(upload.scratch_size());
  upload.write(sent.data());
  decoded.elements.resize(n);
  std::int64_t found[4];
  const cuda::FastElements elements{decoded.elements.data(), 2, 0xFFFF, 0, 1, nullptr, nullptr, 0};
  upload.decode(sent.data(), scratch.data(), elements, found,
                {reversed ? cuda::kEmulatedReversed : cuda::kEmulated, nullptr});
  decoded.accepted = found[3] == 0;
  if (!decoded.accepted) return decoded;
  std::int64_t counted[3] = {};
  for (const std::uint16_t element : decoded.elements) ++counted[element == 0xFFFF ? 0 : 1 + element];
  require(counted[0] == found[0] && counted[1] == found[1] && counted[2] == found[2],
          "symbols are counted as they are written");
  return decoded;
}

void compare(const std::vector<std::uint8_t>& payload, std::size_t n, const TritCounts& counts,
             bool reversed) {
  std::vector<std::int8_t> expected(n);
  const bool accepted = fast::decode(payload.data(), payload.size(), n, counts, expected.data());
  const bool constant = (counts.negative != 0) + (counts.zero != 0) + (counts.positive != 0) < 2;
  if (n == 0 || constant) return;  // no payload, no launch
  const Decoded decoded = on_device(payload, n, counts, reversed);
  require(decoded.accepted == accepted, "both accept the same payloads");
  for (std::size_t i = 0; accepted && i < n; ++i) {
    require(static_cast<std::int16_t>(decoded.elements[i]) == expected[i], "both find the same trits");
  }
}

void decode_anything(Input& input) {
  const bool reversed = input.byte() % 2 != 0;
  const std::size_t n = input.below(1u << 13);
  const TritCounts counts{input.count(), input.count(), input.count()};
  compare({input.rest(), input.rest() + input.left()}, n, counts, reversed);
}

void decode_damaged(Input& input) {
  const bool reversed = input.byte() % 2 != 0;
  const fast::Options options{1u << input.below(7), 10 + static_cast<unsigned>(input.below(13)),
                              static_cast<unsigned>(input.below(64)),
                              input.byte() % 2 == 0 ? 0u : 8 + static_cast<unsigned>(input.below(9))};
  const std::size_t n = 1 + input.below(1u << 15);
  const unsigned zeros = input.byte();
  std::uint32_t random = 1 + static_cast<std::uint32_t>(input.below(1u << 16));
  std::vector<std::int8_t> trits(n);
  TritCounts counts{1, 1, 0};
  for (std::int8_t& trit : trits) {
    random = random * 1664525 + 1013904223;
    const bool zero = (random >> 16 & 0xFF) <= zeros;
    trit = static_cast<std::int8_t>(zero ? 0 : (random >> 30 & 1) != 0 ? 1 : -1);
    ++(trit < 0 ? counts.negative : trit > 0 ? counts.positive : counts.zero);
  }
  std::vector<std::uint8_t> payload = fast::encode(trits.data(), n, counts, options);
  for (unsigned damages = input.byte() % 4; damages != 0 && !payload.empty(); --damages) {
    const std::size_t at = input.below(1u << 16) % payload.size();
    payload[at] = static_cast<std::uint8_t>(payload[at] ^ input.byte());
  }
  payload.resize(payload.size() - input.below(1u << 16) % (payload.size() + 1) * (input.byte() % 4 == 1));
  compare(payload, n, counts, reversed);
}

}  // namespace
}  // namespace ternzip::fuzz

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  ternzip::fuzz::Input input(data, size);
  if (input.byte() % 2 == 0) {
    ternzip::fuzz::decode_anything(input);
  } else {
    ternzip::fuzz::decode_damaged(input);
  }
  return 0;
}
