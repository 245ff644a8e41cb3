#include <algorithm>
#include <array>
#include <stdexcept>
#include <utility>

#include "core/codecs/context/chunk.hpp"
#include "core/codecs/context/living.hpp"
#include "core/codecs/context/recipe.hpp"

namespace ternzip::context {
namespace {

// Trial codings of that many weights tell which recipe suits a chunk.
constexpr std::size_t kTrial = std::size_t{1} << 18;

// A chunk, or what lives of one, to be coded by whatever recipe.
struct Chunk {
  const std::int8_t* trits;
  Living living;
  TritCounts counts;

  const Geometry& geometry() const noexcept { return living.left(); }

  // Its first rows, of kTrial weights or a few more; all of them live.
  Chunk head() const {
    Geometry first = geometry();
    first.rows = std::min(first.rows, kTrial / (first.cols * first.kernel) + 1);
    return {trits, Living(first), counts};
  }

  std::vector<std::uint8_t> encode_static() const {
    return encode(Recipe::kStatic,
                  [&](auto& coder) { code_static(coder, counts, trits, geometry().size()); });
  }
  std::vector<std::uint8_t> encode_adaptive(const Recipe& recipe) const {
    return encode(recipe.code(), [&](auto& coder) {
      Living(living).code(coder);
      with_model<BinaryRansEncoder>(geometry().kernel, recipe.effort(), [&]<class M>(std::type_identity<M>) {
        M model(coder, geometry(), counts, recipe.priors(), has_similarity(geometry(), recipe.effort()),
                trits);
        while (model.more()) model.code_row();
      });
    });
  }

 private:
  template <class Code>
  std::vector<std::uint8_t> encode(std::uint8_t recipe, const Code& code) const {
    BinaryRansEncoder coder;
    // Room for all it may be given: while a model holds the coder, nothing is allocated that could fail.
    coder.reserve(living.most_bits() + 2 * geometry().size());
    code(coder);
    std::vector<std::uint8_t> payload{recipe};
    coder.finish(payload);
    return payload;
  }
};

struct Coded {
  Recipe recipe;
  std::vector<std::uint8_t> payload;
};
Coded coded(const Chunk& chunk, const Recipe& recipe) { return {recipe, chunk.encode_adaptive(recipe)}; }
// Returns whether the other is the smaller.
bool keep_smaller(Coded& best, Coded other) {
  const bool smaller = other.payload.size() < best.payload.size();
  if (smaller) best = std::move(other);
  return smaller;
}

// Tries other widths of the priors, one after the other. The default effort tries rows and columns together,
// and similarity; the quick one nothing.
void fit(const Chunk& chunk, Coded& best) {
  static constexpr std::array<unsigned, 2> kQuickly = {0b0011, 0b0100};
  static constexpr std::array<unsigned, 4> kThoroughly = {0b0001, 0b0010, 0b0100, 0b1000};
  const Effort effort = best.recipe.effort();
  const bool thorough = effort == Effort::kMax;
  const unsigned* groups = thorough ? kThoroughly.data() : kQuickly.data();
  const std::size_t count = effort == Effort::kQuick ? 0 : thorough ? kThoroughly.size() : kQuickly.size();
  for (std::size_t group = 0; group < count; ++group) {
    if (groups[group] == 0b0100 && !has_similarity(chunk.geometry(), effort)) continue;
    for (std::uint8_t width = 1; width < Recipe::kWidths; ++width) {
      Recipe other = best.recipe;
      for (std::size_t i = 0; i < Priors::kCount; ++i) {
        if ((groups[group] >> i & 1) != 0) other.width(i) = width;
      }
      if (keep_smaller(best, coded(chunk, other))) break;
    }
  }
}

// The same, by what the first rows of a large chunk tell.
void fit_by_head(const Chunk& chunk, Coded& best) {
  if (best.recipe.effort() == Effort::kQuick) return;
  const Chunk head = chunk.head();
  Coded trial = coded(head, best.recipe);
  fit(head, trial);
  if (trial.recipe.code() != best.recipe.code()) keep_smaller(best, coded(chunk, trial.recipe));
}

// Throws if a trit is not one of the tensor's; returns the counts of the chunk.
TritCounts checked(const std::int8_t* trits, std::size_t size, const TritCounts& tensor) {
  TritCounts chunk;
  for (const std::int8_t* trit = trits; trit != trits + size; ++trit) {
    ++(*trit < 0 ? chunk.negative : *trit > 0 ? chunk.positive : chunk.zero);
    const auto counted = *trit < 0 ? tensor.negative : *trit > 0 ? tensor.positive : tensor.zero;
    if (*trit < -1 || *trit > 1 || counted == 0) {
      throw std::invalid_argument("context_encode: a trit is not of a counted symbol");
    }
  }
  return chunk;
}

}  // namespace

std::vector<std::uint8_t> encode(const std::int8_t* trits, const Geometry& tensor, const TritCounts& counts,
                                 Effort effort) {
  std::size_t size = 0;
  if (!product(tensor, size)) {
    throw std::invalid_argument("context_encode: rows * cols * kernel overflows, or a row has 2^32 weights");
  }
  const TritCounts chunk_counts = checked(trits, size, counts);
  if (trivial(counts, size)) return {};

  const Chunk whole{trits, Living(plane(tensor)), counts};
  const Living living(plane(tensor), trits);
  std::vector<std::int8_t> left;
  if (!living.all()) {
    left.resize(living.left().size());
    living.gather(trits, left.data());
  }
  const Chunk without_dead{left.data(), living, living.counts(counts)};

  const Chunk* chunk = &whole;
  Coded best = coded(whole, Recipe(effort));
  if (!living.all() && keep_smaller(best, coded(without_dead, Recipe(effort)))) chunk = &without_dead;
  chunk->geometry().size() <= kTrial ? fit(*chunk, best) : fit_by_head(*chunk, best);

  if (static_bytes(counts, chunk_counts) >= best.payload.size()) return best.payload;
  std::vector<std::uint8_t> payload = whole.encode_static();
  return payload.size() < best.payload.size() ? payload : best.payload;
}

}  // namespace ternzip::context
