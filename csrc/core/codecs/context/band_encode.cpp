#include "core/codecs/context/band_encode.hpp"

#include <algorithm>
#include <iterator>

#include "core/base/bytes.hpp"
#include "core/codecs/context/band_tile.hpp"
#include "core/codecs/context/binary_rans.hpp"

namespace ternzip::context {
namespace {

// A symbol's frequency and where its slots start, or 0 where nothing is coded.
using Record = std::uint32_t;

struct Recorder {
  const std::int8_t* trits;
  Record* records;

  TERNZIP_INLINE void code(BandSymbols& symbols, const BandInts& idle, std::size_t column) {
    constexpr std::uint32_t kOne = 1U << kBandPrecision;
    load(symbols.trits, trits + column * kBands);
    for (std::size_t l = 0; l < kBands; ++l) {
      const std::int32_t trit = symbols.trits.of[l];
      const std::uint32_t nonzero = symbols.nonzero.of[l], negative = symbols.negative.of[l];
      const std::uint32_t frequency = trit == 0 ? kOne - nonzero : trit < 0 ? negative : nonzero - negative;
      const std::uint32_t start = trit == 0 ? 0 : trit < 0 ? kOne - negative : kOne - nonzero;
      records[column * kBands + l] = (frequency | start << 16) & ~static_cast<std::uint32_t>(idle.of[l]);
    }
  }
};

// A tile's trits from the rows of `in`; those of bands without a row are 0.
void gather(const std::int8_t* in, const BandRows& rows, std::size_t step, std::size_t row_size,
            const BandTile& tile) noexcept {
  for (std::size_t band = 0; band < kBands; ++band) {
    if (!rows.has(band, step)) {
      for (std::size_t x = 0; x < tile.columns; ++x) tile.trits[x * kBands + band] = 0;
      continue;
    }
    const std::int8_t* const row = in + rows.row(band, step) * row_size;
    for (std::size_t x = 0; x < tile.columns; ++x) tile.trits[x * kBands + band] = row[x];
  }
}

// All records of a chunk, in the order of decoding.
std::vector<Record> record(const std::int8_t* trits, const Geometry& geometry, const TritCounts& counts,
                           const BandRecipe& recipe) {
  const BandRows rows(geometry.rows);
  const std::size_t row_size = geometry.cols * geometry.kernel;
  std::vector<Record> records(rows.steps() * row_size * kBands);
  BandModel model(geometry, counts, recipe);
  model.run([&](BandState& state, const BandTile& tile, std::size_t step, std::size_t column) {
    gather(trits + column, rows, step, row_size, tile);
    Recorder recorder{tile.trits, records.data() + (step * row_size + column) * kBands};
    recipe.predicts_signs ? code_tile<true>(state, tile, recorder) : code_tile<false>(state, tile, recorder);
    return true;
  });
  return records;
}

std::uint64_t cost(const std::vector<Record>& records) noexcept {
  std::uint64_t sum = 0;
  for (const Record record : records) {
    if (record != 0) sum += bit_cost((record & 0xFFFF) << (16 - kBandPrecision));
  }
  return sum;
}

}  // namespace

BandTrial try_banded(const std::int8_t* trits, const Geometry& first_rows, const TritCounts& counts) {
  BandTrial best{{}, ~std::uint64_t{0}};
  const auto try_recipe = [&](const BandRecipe& recipe) {
    const std::uint64_t bits = cost(record(trits, first_rows, counts, recipe));
    if (bits < best.cost) best = {recipe, bits};
  };
  for (const Width width : {Width::kUsual, Width::kHalf, Width::kDouble}) try_recipe({width, true});
  try_recipe({best.recipe.width, false});
  return best;
}

std::vector<std::uint8_t> encode_banded(const std::int8_t* trits, const Living& living,
                                        const TritCounts& counts, const BandRecipe& recipe) {
  const std::vector<Record> records = record(trits, living.left(), counts, recipe);
  std::uint32_t states[kBands];
  std::fill(std::begin(states), std::end(states), kBandState);
  std::vector<std::uint16_t> words;  // last one first
  for (std::size_t i = records.size(); i-- > 0;) {
    if (records[i] == 0) continue;
    std::uint32_t& state = states[i % kBands];
    const std::uint32_t frequency = records[i] & 0xFFFF, start = records[i] >> 16;
    if (state >> (32 - kBandPrecision) >= frequency) {
      words.push_back(static_cast<std::uint16_t>(state));
      state >>= 16;
    }
    state = (state / frequency << kBandPrecision) + state % frequency + start;
  }
  BinaryRansEncoder names;
  names.reserve(living.most_bits());
  Living(living).code(names);
  std::vector<std::uint8_t> payload(5);
  names.finish(payload);
  payload[0] = recipe.code();
  store_le(payload.data() + 1, static_cast<std::uint32_t>(payload.size() - 5));
  const std::size_t behind_names = payload.size();
  payload.resize(behind_names + kBandStateBytes + 2 * words.size());
  std::uint8_t* at = payload.data() + behind_names;
  for (std::size_t band = 0; band < kBands; ++band, at += 4) store_le(at, states[band]);
  for (std::size_t i = words.size(); i-- > 0; at += 2) store_le(at, words[i]);
  return payload;
}

}  // namespace ternzip::context
