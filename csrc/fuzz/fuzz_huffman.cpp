// Huffman codes of planes. Any payload is refused or decoded, alike by all instruction sets; any plane comes
// back as it was, in as many bytes as were foretold.
#include <algorithm>

#include "core/codecs/planes/huffman.hpp"
#include "core/simd/isa.hpp"
#include "fuzz/input.hpp"

namespace ternzip::fuzz {
namespace {

using Bytes = std::vector<std::uint8_t>;

void use_isa(unsigned number) {
  static const std::vector<std::string> isas = available_isas();
  set_isa(isas[number % isas.size()]);
}

void decode_anything(Input& input, unsigned way) {
  // Short planes are quick; long ones get through whole rounds.
  const std::size_t n = way % 4 != 0 ? input.below(1u << 8) : (std::size_t{1} << 12) + input.below(1u << 12);
  // Of the exact size, so that the sanitizer sees the first byte beyond.
  const Bytes payload(input.rest(), input.rest() + input.left());
  Bytes found(n, 0), plain(n, 0);
  const bool accepted = huffman_decode(payload.data(), payload.size(), found.data(), n);
  set_isa("baseline");
  require(huffman_decode(payload.data(), payload.size(), plain.data(), n) == accepted,
          "all accept the same payloads");
  require(!accepted || found == plain, "all find the same bytes");
}

// A plane whose bytes are the input's, some over and over: long planes of few bytes.
Bytes make_plane(Input& input) {
  const std::size_t times = 1 + input.below(16);
  const std::size_t distinct = 1 + input.below(256);
  const std::size_t size = input.left() * times;
  Bytes plane(size);
  for (std::size_t i = 0; i < size; ++i) {
    plane[i] = static_cast<std::uint8_t>(input.rest()[i % input.left()] % distinct);
  }
  return plane;
}

void there_and_back(Input& input, unsigned way) {
  const Bytes plane = make_plane(input);
  const ByteCounts counts = count_bytes(plane.data(), plane.size());
  const auto occurring = 256 - std::count(counts.begin(), counts.end(), 0u);
  if (occurring < 2) return;
  const HuffmanPayload payload = huffman_encode(plane.data(), plane.size(), counts);
  const std::size_t least = huffman_size(counts);
  require(payload.size >= least && payload.size <= least + 3, "the size was foretold");
  const Bytes exact(payload.bytes.get(), payload.bytes.get() + payload.size);
  use_isa(way / 32);
  const HuffmanPayload again = huffman_encode(plane.data(), plane.size(), counts);
  require(again.size == exact.size() && std::equal(exact.begin(), exact.end(), again.bytes.get()),
          "all write the same payload");
  Bytes back(plane.size(), 0);
  require(huffman_decode(exact.data(), exact.size(), back.data(), back.size()), "what was written is read");
  require(back == plane, "the plane comes back");
}

}  // namespace
}  // namespace ternzip::fuzz

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  ternzip::fuzz::Input input(data, size);
  const unsigned way = input.byte();
  ternzip::fuzz::use_isa(way / 8);
  if (way % 2 == 0) {
    ternzip::fuzz::there_and_back(input, way);
  } else {
    ternzip::fuzz::decode_anything(input, way / 2);
  }
  return 0;
}
