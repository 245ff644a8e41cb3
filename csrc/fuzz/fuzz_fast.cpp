// Any payload of the `fast` codec. Both ways of decoding and all instruction sets must agree on every payload
// that one of them accepts.
#include "core/codecs/fast/fast.hpp"
#include "core/simd/isa.hpp"
#include "fuzz/input.hpp"

namespace ternzip::fuzz {
namespace {

// What the decoder made of a payload; buffers are kept between inputs.
struct Decoded {
  bool accepted = false;
  CheckedTritCounts counts;
};

Decoded decode_elements(const std::vector<std::uint8_t>& payload, std::size_t n, const TritCounts& counts,
                        std::vector<std::int16_t>& elements) {
  constexpr std::uint16_t kNegative = 0xFFFF, kPositive = 1;
  const Format format{2, 0, 0, 0, 0};
  ElementWriter writer(format, &kNegative, &kPositive, {n + 1, 1, n + 1}, 0, elements.data());
  const bool accepted = fast::decode_into(payload.data(), payload.size(), n, counts, writer);
  return {accepted, writer.counts()};
}

void decode_anything(Input& input) {
  static const std::vector<std::string> isas = available_isas();
  const unsigned way = input.byte();
  const bool as_elements = way % 2 != 0;
  // Short chunks are quick; long ones get through whole rounds of many lanes.
  const std::size_t n = way % 8 < 6 ? input.below(1u << 9) : input.below(1u << 13);
  const TritCounts counts{input.count(), input.count(), input.count()};
  // Of the exact size, so that the sanitizer sees the first byte beyond.
  const std::vector<std::uint8_t> payload(input.rest(), input.rest() + input.left());
  std::vector<std::int8_t> trits(as_elements ? 0 : n);
  std::vector<std::int16_t> elements(as_elements ? n : 0);
  set_isa(isas[way / 8 % isas.size()]);
  Decoded decoded;
  if (as_elements) {
    decoded = decode_elements(payload, n, counts, elements);
  } else {
    decoded.accepted = fast::decode(payload.data(), payload.size(), n, counts, trits.data());
  }
  if (!decoded.accepted) return;
  std::vector<std::int8_t> plain(n);
  set_isa("baseline");
  require(fast::decode(payload.data(), payload.size(), n, counts, plain.data()),
          "all accept the same payloads");
  CheckedTritCounts found;
  for (std::size_t i = 0; i < n; ++i) {
    require(plain[i] == (as_elements ? elements[i] : trits[i]), "all find the same trits");
    ++(plain[i] < 0 ? found.negative : plain[i] > 0 ? found.positive : found.zero);
  }
  require(!as_elements || (found.negative == decoded.counts.negative && found.zero == decoded.counts.zero &&
                           found.positive == decoded.counts.positive && decoded.counts.invalid == 0),
          "elements are counted as they are");
}

}  // namespace
}  // namespace ternzip::fuzz

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  ternzip::fuzz::Input input(data, size);
  ternzip::fuzz::decode_anything(input);
  return 0;
}
