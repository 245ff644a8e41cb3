// Five trits a byte: any bytes are refused or are exactly what packing their trits gives.
#include "core/codecs/packed/packed.hpp"
#include "fuzz/input.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using ternzip::fuzz::require;
  ternzip::fuzz::Input input(data, size);
  const std::size_t unused = input.byte() % 5;
  const std::vector<std::uint8_t> packed(input.rest(), input.rest() + input.left());
  const std::size_t n = packed.empty() ? 0 : packed.size() * 5 - unused;
  std::vector<std::int8_t> trits(n, 2);
  if (!ternzip::unpack_trits(packed.data(), n, trits.data())) return 0;
  for (const std::int8_t trit : trits) require(trit >= -1 && trit <= 1, "unpacked trits are trits");
  std::vector<std::uint8_t> again(ternzip::packed_size(n));
  ternzip::pack_trits(trits.data(), n, again.data());
  require(again == packed, "packing undoes unpacking");
  return 0;
}
