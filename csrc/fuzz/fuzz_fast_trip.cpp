// Round trips of the `fast` codec with any options: apart from fuzz_fast, because an encoder's run takes as
// long as many decoders'.
#include "core/codecs/fast/fast.hpp"
#include "fuzz/input.hpp"

namespace ternzip::fuzz {
namespace {

void round_trip(Input& input) {
  fast::Options options{1u << input.below(7), 10 + static_cast<unsigned>(input.below(13)),
                        static_cast<unsigned>(input.below(64)),
                        input.byte() % 2 == 0 ? 0u : 8 + static_cast<unsigned>(input.below(9))};
  if (input.byte() % 4 == 3) options = {};  // what files are written with, and alone makes short payloads
  const std::size_t repeat = 1 + input.below(40);
  std::vector<std::int8_t> trits = input.trits(input.left());
  const std::size_t period = trits.size();
  for (std::size_t i = 0; i < period * (repeat - 1); ++i) trits.push_back(trits[i]);
  TritCounts counts;
  for (const std::int8_t trit : trits) {
    ++(trit < 0 ? counts.negative : trit > 0 ? counts.positive : counts.zero);
  }
  const std::vector<std::uint8_t> payload = fast::encode(trits.data(), trits.size(), counts, options);
  std::vector<std::int8_t> decoded(trits.size(), 2);
  require(fast::decode(payload.data(), payload.size(), trits.size(), counts, decoded.data()),
          "what is encoded can be decoded");
  require(decoded == trits, "what is decoded is what was encoded");
}

}  // namespace
}  // namespace ternzip::fuzz

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  ternzip::fuzz::Input input(data, size);
  ternzip::fuzz::round_trip(input);
  return 0;
}
