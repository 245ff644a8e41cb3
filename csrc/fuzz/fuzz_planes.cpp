// Byte planes: merging undoes splitting and the other way round, at every width, rotation and alignment, and
// every instruction set finds the same planes and the same repeats. Sparse planes: split and merged, and
// merged from bitmaps and bytes that nobody has split.
#include "core/codecs/planes/planes.hpp"
#include "core/codecs/planes/zeros.hpp"
#include "core/simd/isa.hpp"
#include "fuzz/input.hpp"

namespace {

using Bytes = std::vector<std::uint8_t>;

std::vector<std::uint8_t*> planes_of(Bytes& bytes, std::size_t count, unsigned width) {
  std::vector<std::uint8_t*> planes;
  for (unsigned plane = 0; plane < width; ++plane) planes.push_back(bytes.data() + plane * count);
  return planes;
}

// Planes with and without zeros, there and back, alike on every instruction set.
void check_zeros(const Bytes& plane, const std::vector<std::string>& isas) {
  using ternzip::fuzz::require;
  Bytes first_bitmap, first_rest;
  for (const std::string& isa : isas) {
    ternzip::set_isa(isa);
    Bytes bitmap((plane.size() + 7) / 8), rest(plane.size() + ternzip::kRestOverrun), back(plane.size());
    rest.resize(ternzip::split_zeros(plane.data(), plane.size(), bitmap.data(), rest.data()));
    std::size_t ones = 0;
    require(ternzip::count_bitmap(bitmap.data(), plane.size(), ones) && ones == rest.size(),
            "ones are bytes");
    require(ternzip::merge_zeros(bitmap.data(), rest.data(), ones, plane.size(), back.data()),
            "all is merged");
    require(back == plane, "merging zeros undoes splitting");
    if (&isa == isas.data()) {
      first_bitmap = bitmap;
      first_rest = rest;
    }
    require(bitmap == first_bitmap && rest == first_rest, "all split zeros alike");
  }
}

// A bitmap as a file may hold it, for `size` bytes, and as many bytes as it has ones: any, zeros too.
void check_merge(const Bytes& bytes, const std::vector<std::string>& isas) {
  using ternzip::fuzz::require;
  const Bytes bitmap(bytes.begin(), bytes.begin() + static_cast<std::ptrdiff_t>((bytes.size() + 7) / 8));
  const std::size_t unused = bitmap.empty() ? 0 : bytes.size() % 8, size = 8 * bitmap.size() - unused;
  Bytes expected(size), rest;
  for (std::size_t i = 0; i < size; ++i) {
    if ((bitmap[i / 8] >> (i % 8) & 1) == 0) continue;
    expected[i] = bytes[i % bytes.size()];
    rest.push_back(expected[i]);
  }
  std::size_t ones = 0;
  const bool clean = unused == 0 || bitmap.back() >> (8 - unused) == 0;
  require(ternzip::count_bitmap(bitmap.data(), size, ones) == clean, "unused bits are 0");
  if (!clean) return;
  require(ones == rest.size(), "ones are counted");
  rest.shrink_to_fit();  // so that the sanitizer sees the first byte beyond
  for (const std::string& isa : isas) {
    ternzip::set_isa(isa);
    Bytes plane(size, 0xFF);
    require(ternzip::merge_zeros(bitmap.data(), rest.data(), ones, size, plane.data()), "as many as counted");
    require(plane == expected, "all merge zeros alike");
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using ternzip::fuzz::require;
  static const std::vector<std::string> isas = ternzip::available_isas();
  ternzip::fuzz::Input input(data, size);
  const unsigned width = 1u << input.byte() % 4;
  const unsigned rotation = input.byte() % (8 * width);
  const std::string& isa = isas[input.byte() % isas.size()];
  const std::size_t count = input.left() / width, bytes = count * width;
  const Bytes raw(input.rest(), input.rest() + bytes);
  Bytes sparse = raw;
  for (std::uint8_t& byte : sparse) byte = byte % 4 == 0 ? byte : 0;
  check_zeros(raw, isas);
  check_zeros(sparse, isas);
  check_merge(raw, isas);
  ternzip::set_isa(isa);
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
