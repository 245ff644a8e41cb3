// Byte planes: merging undoes splitting and the other way round, at every width and alignment.
#include "core/codecs/planes/planes.hpp"
#include "fuzz/input.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using ternzip::fuzz::require;
  ternzip::fuzz::Input input(data, size);
  const unsigned width = input.byte() % 10;
  const bool rotate = input.byte() % 2 != 0;
  const bool known = width == 1 || width == 2 || width == 4 || width == 8;
  const std::size_t count = known ? input.left() / width : input.left();
  const std::size_t bytes = known ? count * width : count;
  const std::vector<std::uint8_t> raw(input.rest(), input.rest() + bytes);
  std::vector<std::uint8_t> there(bytes, 0);
  std::vector<std::uint8_t> back(bytes, 0);
  require(ternzip::split_planes(raw.data(), count, width, rotate, there.data()) == known,
          "known widths split");
  require(ternzip::merge_planes(there.data(), count, width, rotate, back.data()) == known,
          "known widths merge");
  if (!known) return 0;
  require(back == raw, "merging undoes splitting");
  ternzip::merge_planes(raw.data(), count, width, rotate, there.data());
  ternzip::split_planes(there.data(), count, width, rotate, back.data());
  require(back == raw, "splitting undoes merging");
  return 0;
}
