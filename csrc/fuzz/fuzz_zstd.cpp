// zstd frames: any bytes, and the size that they should come to. What decompresses to one size does to no
// other.
#include "core/codecs/zstd/zstd.hpp"
#include "fuzz/input.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using ternzip::fuzz::require;
  using ternzip::zstd::Problem;
  ternzip::fuzz::Input input(data, size);
  const std::size_t expected = input.below(std::size_t{1} << 16);
  std::vector<std::uint8_t> content(expected);
  const auto result = ternzip::zstd::decompress(input.rest(), input.left(), content.data(), content.size());
  if (result.problem == Problem::kTooShort) {
    require(result.count < expected, "what is too short is shorter");
    content.resize(result.count);
    const auto again = ternzip::zstd::decompress(input.rest(), input.left(), content.data(), content.size());
    require(again.problem == Problem::kNone, "a frame of that size is one");
  }
  if (result.problem == Problem::kNone && expected != 0) {
    std::vector<std::uint8_t> shorter(expected - 1);
    const auto again = ternzip::zstd::decompress(input.rest(), input.left(), shorter.data(), shorter.size());
    require(again.problem != Problem::kNone, "a frame has one size");
  }
  return 0;
}
