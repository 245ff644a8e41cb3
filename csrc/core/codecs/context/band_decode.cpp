#include "core/codecs/context/band_decode.hpp"

#include <algorithm>
#include <iterator>

#include "core/base/bytes.hpp"
#include "core/codecs/context/bands.hpp"
#include "core/codecs/context/binary_rans.hpp"
#include "core/codecs/context/chunk.hpp"
#include "core/codecs/context/living.hpp"
#include "core/simd/isa.hpp"

namespace ternzip::context {
namespace {

const BandKernels& kernels() noexcept {
#if defined(TERNZIP_X86)
  if (active_isa() == Isa::avx512) return kBandKernelsAvx512;
  if (active_isa() == Isa::avx2) return kBandKernelsAvx2;
#endif
  return kBandKernelsBaseline;
}

// Words for kernels that read ahead: the last ones are taken from a copy with zeros after it.
class Words {
 public:
  Words(const std::uint8_t* begin, const std::uint8_t* end) noexcept : next_(begin), end_(end) {}

  // From where a tile can be read.
  const std::uint8_t* next() noexcept {
    if (!in_tail_ && static_cast<std::size_t>(end_ - next_) < kReach) {
      end_ = std::copy(next_, end_, tail_);
      next_ = tail_;
      in_tail_ = true;
    }
    return next_;
  }
  // Whether there were as many words as the tile took.
  bool go_on(const std::uint8_t* next) noexcept {
    next_ = next;
    return next <= end_;
  }
  bool finished() const noexcept { return next_ == end_; }

 private:
  static constexpr std::size_t kReach = kTileWordBytes + 2 * kBands;
  const std::uint8_t *next_, *end_;
  bool in_tail_ = false;
  std::uint8_t tail_[2 * kReach] = {};
};

// A tile's trits to the rows of `out` that they are of.
void scatter(const BandTile& tile, const BandRows& rows, std::size_t step, std::size_t row_size,
             std::int8_t* out) noexcept {
  // Dealing a pack of cards in two halves rotates a card's number by a bit: four times, and columns of bands
  // are bands of columns. Compilers have instructions for it.
  constexpr std::size_t kTile = kTileColumns * kBands;
  static_assert(kTileColumns == 16 && kBands == 16);
  std::int8_t a[kTile] = {}, b[kTile];
  std::copy_n(tile.trits, tile.columns * kBands, a);
  const auto deal = [](const std::int8_t* TERNZIP_RESTRICT from, std::int8_t* TERNZIP_RESTRICT to) {
    for (std::size_t i = 0; i < kTile / 2; ++i) {
      to[2 * i] = from[i];
      to[2 * i + 1] = from[kTile / 2 + i];
    }
  };
  deal(a, b);
  deal(b, a);
  deal(a, b);
  deal(b, a);
  for (std::size_t band = 0; band < kBands; ++band) {
    if (!rows.has(band, step)) continue;
    std::copy_n(a + band * kTileColumns, tile.columns, out + rows.row(band, step) * row_size);
  }
}

}  // namespace

bool decode_banded(const DecodeJob& job) {
  const std::uint8_t* at = job.payload + 1;
  const std::uint8_t* const end = job.payload + job.payload_size;
  const auto has = [&](std::size_t bytes) { return static_cast<std::size_t>(end - at) >= bytes; };
  if (!has(4)) return false;
  const auto names = load_le<std::uint32_t>(at);
  at += 4;
  if (!has(names)) return false;
  BinaryRansDecoder coder(at, names);
  at += names;
  Living living(plane(job.geometry));
  living.code(coder);
  const Geometry& geometry = living.left();
  const TritCounts counts = living.counts(job.counts);
  if (!coder.finished() || !has_bands(geometry, counts)) return false;

  if (!has(kBandStateBytes) || (end - at) % 2 != 0) return false;
  BandWords states;
  for (std::uint32_t& state : states.of) {
    state = load_le<std::uint32_t>(at);
    if (state < kBandState) return false;  // no encoder leaves one, and an idle band would take words for it
    at += 4;
  }
  Words words(at, end);
  const BandRows rows(geometry.rows);
  const std::size_t row_size = geometry.cols * geometry.kernel;
  const BandRecipe recipe = BandRecipe::of_code(job.payload[0]);
  const DecodeTile decode_tile = recipe.predicts_signs ? kernels().decode_predicted : kernels().decode;
  BandModel model(geometry, counts, recipe);
  const bool enough =
      model.run([&](BandState& state, const BandTile& tile, std::size_t step, std::size_t column) {
        if (!words.go_on(decode_tile(state, tile, states, words.next()))) return false;
        scatter(tile, rows, step, row_size, job.out + column);
        return true;
      });
  living.scatter(job.out);
  return enough && words.finished() &&
         std::all_of(std::begin(states.of), std::end(states.of),
                     [](std::uint32_t state) { return state == kBandState; });
}

}  // namespace ternzip::context
