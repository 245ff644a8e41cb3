// Decodes payloads of the banded recipes.
#pragma once

#include "core/codecs/context/context.hpp"

namespace ternzip::context {

// `job` has a payload that begins with a BandRecipe, and a geometry and counts that have bands. Returns what
// decode does.
bool decode_banded(const DecodeJob& job);

}  // namespace ternzip::context
