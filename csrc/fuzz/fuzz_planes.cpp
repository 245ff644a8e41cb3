// Byte planes: merging undoes splitting and the other way round, at every width, rotation and alignment, and
// every instruction set finds the same planes and the same repeats.
#include "core/codecs/planes/planes.hpp"
#include "core/simd/isa.hpp"
#include "fuzz/input.hpp"

namespace {

using Bytes = std::vector<std::uint8_t>;

std::vector<std::uint8_t*> planes_of(Bytes& bytes, std::size_t count, unsigned width) {
  std::vector<std::uint8_t*> planes;
  for (unsigned plane = 0; plane < width; ++plane) planes.push_back(bytes.data() + plane * count);
  return planes;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using ternzip::fuzz::require;
  static const std::vector<std::string> isas = ternzip::available_isas();
  ternzip::fuzz::Input input(data, size);
  const unsigned width = 1u << input.byte() % 4;
  const unsigned rotation = input.byte() % (8 * width);
  ternzip::set_isa(isas[input.byte() % isas.size()]);
  const std::size_t count = input.left() / width, bytes = count * width;
  const Bytes raw(input.rest(), input.rest() + bytes);
  Bytes there(bytes, 0), back(bytes, 0), plain(bytes, 0);
  const auto planes = planes_of(there, count, width);
  ternzip::split_planes(raw.data(), count, width, rotation, planes.data());
  ternzip::merge_planes(planes.data(), count, width, rotation, back.data());
  require(back == raw, "merging undoes splitting");
  const bool repeats = ternzip::has_repeats(raw.data(), count, width);
  ternzip::set_isa("baseline");
  require(ternzip::has_repeats(raw.data(), count, width) == repeats, "all find the same repeats");
  ternzip::split_planes(raw.data(), count, width, rotation, planes_of(plain, count, width).data());
  require(plain == there, "all split alike");
  return 0;
}
