// Encodes chunks by the banded recipes.
#pragma once

#include <cstdint>
#include <vector>

#include "core/codecs/context/bands.hpp"
#include "core/codecs/context/context.hpp"
#include "core/codecs/context/living.hpp"

namespace ternzip::context {

// What the first rows of a chunk that has bands cost at least by a banded recipe, in units of 2^-16 bits, and
// by which.
struct BandTrial {
  BandRecipe recipe;
  std::uint64_t cost;
};
BandTrial try_banded(const std::int8_t* trits, const Geometry& first_rows, const TritCounts& counts);

// The payload of a chunk, given the trits of what lives of it.
std::vector<std::uint8_t> encode_banded(const std::int8_t* trits, const Living& living,
                                        const TritCounts& counts, const BandRecipe& recipe);

}  // namespace ternzip::context
