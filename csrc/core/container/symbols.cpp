#include "core/container/symbols.hpp"

#include <algorithm>
#include <vector>

#include "core/codecs/context/context.hpp"
#include "core/codecs/fast/fast.hpp"
#include "core/codecs/packed/packed.hpp"
#include "core/codecs/static/static.hpp"
#include "core/container/error.hpp"

namespace ternzip::container {
namespace {

constexpr const char* kNames[] = {"packed", "static", "context", "fast"};

[[noreturn]] void refuse(const std::string& message) { throw FileError(Problem::kDamaged, message); }

[[noreturn]] void refuse_size(const char* codec, const ChunkPayload& chunk) {
  refuse(join(codec, " payload: ", chunk.size, " bytes cannot stand for ", chunk.geometry.symbols(),
              " symbols"));
}

void decode_packed(const ChunkPayload& chunk, std::size_t n, std::int8_t* out) {
  const TritCounts& counts = chunk.counts;
  const bool is_pair = counts.negative == 0 || counts.zero == 0 || counts.positive == 0;
  const std::size_t expected = is_pair ? packed_bits_size(n) : packed_size(n);
  if (chunk.size != expected) {
    refuse(join("packed payload: expected ", expected, " bytes, found ", chunk.size));
  }
  if (!is_pair) {
    if (!unpack_trits(chunk.data, n, out)) {
      refuse("packed payload: expected five trits in each byte, found a value above 242 or no filling");
    }
    return;
  }
  const std::int8_t low = counts.negative != 0 ? -1 : 0, high = counts.positive != 0 ? 1 : 0;
  if (!unpack_bits(chunk.data, n, low, high, out)) refuse("packed payload: expected zero padding bits");
}

void decode_static(const ChunkPayload& chunk, std::size_t n, std::int8_t* out) {
  if (chunk.size != 0 && chunk.data[chunk.size - 1] == 0) {
    refuse("static payload: expected a last byte other than zero");
  }
  if (!static_codec::decode(chunk.data, chunk.size, n, chunk.counts, out)) {
    refuse(join("static payload: ", chunk.size, " bytes hold more than ", n, " symbols"));
  }
}

void decode_context(const ChunkPayload& chunk, std::int8_t* out) {
  const context::Geometry geometry{static_cast<std::size_t>(chunk.geometry.rows),
                                   static_cast<std::size_t>(chunk.geometry.cols),
                                   static_cast<std::size_t>(chunk.geometry.kernel)};
  if (!context::decode({chunk.data, chunk.size, geometry, chunk.counts, out})) refuse_size("context", chunk);
}

void fill_constant(const ChunkPayload& chunk, std::size_t n, std::int8_t* out) {
  if (chunk.size != 0) refuse(join("expected an empty record for a constant, found ", chunk.size, " bytes"));
  std::fill_n(out, n,
              static_cast<std::int8_t>(chunk.counts.positive != 0   ? 1
                                       : chunk.counts.negative != 0 ? -1
                                                                    : 0));
}

}  // namespace

std::optional<std::string> codec_problem(std::uint8_t code, std::uint64_t parameter_bytes) {
  if (code >= std::size(kNames)) {
    return join("codec ", code, " is not known to this version of ternzip: upgrade to read the tensor");
  }
  if (parameter_bytes == 0) return std::nullopt;
  return join(kNames[code], ": expected no parameters, found ", parameter_bytes, " bytes");
}

void decode_symbols(const ChunkPayload& chunk, std::int8_t* out) {
  const auto n = static_cast<std::size_t>(chunk.geometry.symbols());
  if (!chunk.codec.is_used) return fill_constant(chunk, n, out);
  switch (static_cast<Codec>(chunk.codec.code)) {
    case Codec::kPacked: return decode_packed(chunk, n, out);
    case Codec::kStatic: return decode_static(chunk, n, out);
    case Codec::kContext: return decode_context(chunk, out);
    case Codec::kFast:
      if (!fast::decode(chunk.data, chunk.size, n, chunk.counts, out)) refuse_size("fast", chunk);
  }
}

void decode_symbols(const ChunkPayload& chunk, ElementWriter& writer) {
  const auto n = static_cast<std::size_t>(chunk.geometry.symbols());
  if (chunk.codec.is_used && static_cast<Codec>(chunk.codec.code) == Codec::kFast) {
    if (!fast::decode_into(chunk.data, chunk.size, n, chunk.counts, writer)) refuse_size("fast", chunk);
    return;
  }
  std::vector<std::int8_t> trits(n);
  decode_symbols(chunk, trits.data());
  writer.write(trits.data(), n);
}

}  // namespace ternzip::container
