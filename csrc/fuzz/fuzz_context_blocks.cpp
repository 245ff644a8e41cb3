// Payloads of the `context` codec for rows so long that they are coded in blocks of columns, and what they
// hold there and back: apart from fuzz_context, because a run takes as long as hundreds of its own.
#include "core/codecs/context/context.hpp"
#include "fuzz/input.hpp"

namespace ternzip::fuzz {
namespace {

using context::Geometry;

constexpr std::size_t kBlock = std::size_t{1} << 18;  // weights of a row; longer ones have several blocks

void check(Input& input) {
  const std::size_t kernel = 1 + input.below(20);
  const Geometry shape{1 + input.below(2), kBlock / kernel + input.below(300), kernel};
  const auto effort = static_cast<context::Effort>(1 + input.byte() % 3);
  TritCounts counts{input.count(), input.count(), input.count()};
  // Of the exact size, so that the sanitizer sees the first byte beyond.
  const std::vector<std::uint8_t> payload(input.rest(), input.rest() + input.left());
  std::vector<std::int8_t> trits(shape.size(), 2), back(shape.size(), 2);
  if (!context::decode({payload.data(), payload.size(), shape, counts, trits.data()})) return;
  for (const std::int8_t trit : trits) {  // counted beside those of other chunks
    require(trit >= -1 && trit <= 1, "decoded trits are trits");
    ++(trit < 0 ? counts.negative : trit > 0 ? counts.positive : counts.zero);
  }
  const std::vector<std::uint8_t> again = context::encode(trits.data(), shape, counts, effort);
  require(context::decode({again.data(), again.size(), shape, counts, back.data()}),
          "what is encoded can be decoded");
  require(back == trits, "what is decoded is what was encoded");
}

}  // namespace
}  // namespace ternzip::fuzz

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  ternzip::fuzz::Input input(data, size);
  ternzip::fuzz::check(input);
  return 0;
}
