// Byte planes: merging undoes splitting and the other way round, at every width and alignment.
#include "core/codecs/planes/planes.hpp"
#include "fuzz/input.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using ternzip::fuzz::require;
  ternzip::fuzz::Input input(data, size);
  const unsigned width = 1u << input.below(4);
  const bool rotate = input.byte() % 2 != 0;
  const std::size_t count = input.left() / width, bytes = count * width;
  const std::vector<std::uint8_t> raw(input.rest(), input.rest() + bytes);
  std::vector<std::uint8_t> there(bytes, 0);
  std::vector<std::uint8_t> back(bytes, 0);
  ternzip::split_planes(raw.data(), count, width, rotate, there.data());
  ternzip::merge_planes(there.data(), count, width, rotate, back.data());
  require(back == raw, "merging undoes splitting");
  ternzip::merge_planes(raw.data(), count, width, rotate, there.data());
  ternzip::split_planes(there.data(), count, width, rotate, back.data());
  require(back == raw, "splitting undoes merging");
  return 0;
}
