// Any payload of the `context` codec, alone and beside another one, on every instruction set, and round trips
// of any geometry.
#include <algorithm>

#include "core/codecs/context/band_encode.hpp"
#include "core/codecs/context/context.hpp"
#include "core/simd/isa.hpp"
#include "fuzz/input.hpp"

namespace ternzip::fuzz {
namespace {

using context::DecodeJob;
using context::Effort;
using context::Geometry;

Effort effort(Input& input) { return static_cast<Effort>(1 + input.byte() % 3); }

// Few trits, for many executions a second, yet more rows than any model compares, and kernels of every shape:
// up to 9 weights, squares and cubes, neither, and more places than a history has bits.
Geometry geometry(Input& input) {
  constexpr std::size_t kTrits = 1200;
  Geometry result{input.below(301), input.below(24), 0};
  result.kernel = input.below(129);
  result.rows = std::min(result.rows, kTrits / std::max<std::size_t>(result.cols * result.kernel, 1));
  return result;
}

std::size_t size_of(const Geometry& geometry) { return geometry.rows * geometry.cols * geometry.kernel; }

void decode_anything(Input& input) {
  DecodeJob jobs[2];
  std::vector<std::int8_t> trits[2];
  const unsigned way = input.byte();
  const std::size_t count = 1 + way % 2;
  for (std::size_t i = 0; i < count; ++i) {
    jobs[i].geometry = geometry(input);
    jobs[i].counts = {input.count(), input.count(), input.count()};
    trits[i].assign(size_of(jobs[i].geometry), 2);
    jobs[i].out = trits[i].data();
  }
  const std::size_t split = count == 2 ? input.left() / 2 : input.left();
  const std::vector<std::uint8_t> payloads[2] = {{input.rest(), input.rest() + split},
                                                 {input.rest() + split, input.rest() + input.left()}};
  for (std::size_t i = 0; i < count; ++i) {
    jobs[i].payload = payloads[i].data();
    jobs[i].payload_size = payloads[i].size();
  }
  static const std::vector<std::string> isas = available_isas();
  bool accepted[2] = {};
  set_isa(isas[isas.size() - 1 - way / 2 % isas.size()]);
  context::decode_many(jobs, count, accepted);
  set_isa("baseline");
  for (std::size_t i = 0; i < count; ++i) {
    for (const std::int8_t trit : trits[i]) {
      require(!accepted[i] || (trit >= -1 && trit <= 1), "decoded trits are trits");
    }
    // Alone, and in plain C++, a payload is decoded to the same.
    std::vector<std::int8_t> again(trits[i].size(), 2);
    DecodeJob alone = jobs[i];
    alone.out = again.data();
    const bool alone_accepted = context::decode(alone);
    require(alone_accepted == accepted[i] && (!accepted[i] || again == trits[i]),
            "lockstep and instruction set change nothing");
  }
}

void round_trip(Input& input) {
  const Geometry shape = geometry(input);
  const Effort chosen = effort(input);
  const std::vector<std::int8_t> trits = input.trits(size_of(shape));
  TritCounts counts{input.count() / 2, input.count() / 2, input.count() / 2};  // of the rest of the tensor
  for (const std::int8_t trit : trits) {
    ++(trit < 0 ? counts.negative : trit > 0 ? counts.positive : counts.zero);
  }
  const auto check = [&](const std::vector<std::uint8_t>& payload) {
    std::vector<std::int8_t> decoded(trits.size(), 2);
    const DecodeJob job{payload.data(), payload.size(), shape, counts, decoded.data()};
    require(context::decode(job), "what is encoded can be decoded");
    require(decoded == trits, "what is decoded is what was encoded");
  };
  check(context::encode(trits.data(), shape, counts, chosen));
  // Encoders choose bands for larger chunks only.
  if (!context::has_bands(shape, counts) || trits.empty()) return;
  static const std::vector<std::string> isas = available_isas();
  const unsigned way = input.byte();
  set_isa(isas[way / 6 % isas.size()]);
  const auto code = static_cast<std::uint8_t>(context::BandRecipe::kBegin + way % 6);
  check(context::encode_banded(trits.data(), context::Living(shape), counts,
                               context::BandRecipe::of_code(code)));
  set_isa("baseline");
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
