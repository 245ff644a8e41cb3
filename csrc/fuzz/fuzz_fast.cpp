// Any payload of the `fast` codec, and round trips with any options. Both ways of decoding and all
// instruction sets must agree on every payload, whether they refuse it or not.
#include "core/fast.hpp"
#include "core/isa.hpp"
#include "fuzz/input.hpp"

namespace ternzip::fuzz {
namespace {

void decode_anything(Input& input) {
  const std::vector<std::string> isas = available_isas();
  set_isa(isas[input.byte() % isas.size()]);
  const bool as_elements = input.byte() % 2 != 0;
  const std::size_t n = input.below(1u << 13);
  const TensorCounts counts{input.count(), input.count(), input.count()};
  // Copies of the exact size, so that the sanitizer sees the first byte beyond.
  const std::vector<std::uint8_t> payload(input.rest(), input.rest() + input.left());
  std::vector<std::int8_t> trits(n);
  std::vector<std::int16_t> elements(n);
  bool accepted = false;
  if (as_elements) {
    accepted = fast_decode_into(payload.data(), payload.size(), n, counts, 2, 0xFFFF, 1, elements.data());
  } else {
    accepted = fast_decode(payload.data(), payload.size(), n, counts, trits.data());
  }
  if (!accepted) return;
  std::vector<std::int8_t> plain(n);
  set_isa("baseline");
  require(fast_decode(payload.data(), payload.size(), n, counts, plain.data()),
          "all accept the same payloads");
  for (std::size_t i = 0; i < n; ++i) {
    require(plain[i] == (as_elements ? elements[i] : trits[i]), "all find the same trits");
  }
}

void round_trip(Input& input) {
  const FastOptions options{1u << input.below(7), 10 + static_cast<unsigned>(input.below(13)),
                            static_cast<unsigned>(input.below(64)),
                            input.byte() % 2 == 0 ? 0u : 8 + static_cast<unsigned>(input.below(9))};
  const std::size_t repeat = 1 + input.below(40);
  std::vector<std::int8_t> trits = input.trits(input.left());
  const std::size_t period = trits.size();
  for (std::size_t i = 0; i < period * (repeat - 1); ++i) trits.push_back(trits[i]);
  TensorCounts counts;
  for (const std::int8_t trit : trits) {
    ++(trit < 0 ? counts.negative : trit > 0 ? counts.positive : counts.zero);
  }
  std::vector<std::uint8_t> payload;
  require(fast_encode(trits.data(), trits.size(), counts, options, payload), "valid trits can be encoded");
  std::vector<std::int8_t> decoded(trits.size(), 2);
  require(fast_decode(payload.data(), payload.size(), trits.size(), counts, decoded.data()),
          "what is encoded can be decoded");
  require(decoded == trits, "what is decoded is what was encoded");
}

}  // namespace
}  // namespace ternzip::fuzz

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  ternzip::fuzz::Input input(data, size);
  if (input.byte() % 16 == 0) {
    ternzip::fuzz::round_trip(input);
  } else {
    ternzip::fuzz::decode_anything(input);
  }
  return 0;
}
