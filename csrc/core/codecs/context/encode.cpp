#include <algorithm>
#include <stdexcept>
#include <utility>

#include "core/codecs/context/chunk.hpp"
#include "core/codecs/context/living.hpp"
#include "core/codecs/context/recipe.hpp"

namespace ternzip::context {
namespace {

// The first rows of a chunk tell which recipe suits it: this share of them, but no fewer weights than
// kLeastTrial (unless the chunk has fewer) and no more than kMostTrial. The highest effort tries more.
constexpr std::size_t kTrialShare = 3;
constexpr std::size_t kLeastTrial = std::size_t{1} << 11, kMostTrial = std::size_t{1} << 18;

// A chunk, or what lives of one, to be coded by whatever recipe.
struct Chunk {
  const std::int8_t* trits;
  Living living;
  TritCounts counts;

  const Geometry& geometry() const noexcept { return living.left(); }

  // Its first rows, of `weights` weights or a few more.
  Geometry head(std::size_t weights) const noexcept {
    Geometry first = geometry();
    first.rows = std::min(first.rows, weights / (first.cols * first.kernel) + 1);
    return first;
  }
};

// Room for all the bits of any recipe: while a model holds a coder, nothing is allocated that could fail.
BinaryRansEncoder coder_for(const Chunk& chunk) {
  BinaryRansEncoder coder;
  coder.reserve(chunk.living.most_bits() + 2 * chunk.geometry().size());
  return coder;
}

// Records the bits of the first rows of a chunk, as all of it would have them.
void record(BinaryRansEncoder& coder, const Chunk& chunk, const Geometry& first, const Recipe& recipe) {
  with_model<BinaryRansEncoder>(first.kernel, recipe.effort(), [&]<class M>(std::type_identity<M>) {
    M model(coder, first, chunk.counts, recipe.priors(), has_similarity(chunk.geometry(), recipe.effort()),
            chunk.trits);
    while (model.more()) model.code_row();
  });
}

std::vector<std::uint8_t> payload_of(const BinaryRansEncoder& coder, std::uint8_t recipe) {
  std::vector<std::uint8_t> payload{recipe};
  coder.finish(payload);
  return payload;
}
std::vector<std::uint8_t> encode_static(const Chunk& chunk) {
  BinaryRansEncoder coder = coder_for(chunk);
  code_static(coder, chunk.counts, chunk.trits, chunk.geometry().size());
  return payload_of(coder, Recipe::kStatic);
}
std::vector<std::uint8_t> encode_adaptive(const Chunk& chunk, const Recipe& recipe) {
  BinaryRansEncoder coder = coder_for(chunk);
  Living(chunk.living).code(coder);
  record(coder, chunk, chunk.geometry(), recipe);
  return payload_of(coder, recipe.code());
}

// What the first rows of a chunk come to by one recipe or another.
class Trials {
 public:
  Trials(const Chunk& chunk, std::size_t weights)
      : chunk_(chunk), first_(chunk.head(weights)), coder_(coder_for({chunk.trits, Living(first_), {}})) {}

  BitCosts costs(const Recipe& recipe) {
    coder_.clear();
    record(coder_, chunk_, first_, recipe);
    return coder_.costs();
  }

 private:
  const Chunk& chunk_;
  Geometry first_;
  BinaryRansEncoder coder_;
};

// Which of the priors' widths a bit of a mask stands for.
constexpr unsigned kRows = 1, kColumns = 2, kSimilar = 4, kSignWindow = 8;
Recipe with_widths(Recipe recipe, unsigned priors, std::uint8_t width) {
  for (std::size_t i = 0; i < Priors::kCount; ++i) {
    if ((priors >> i & 1) != 0) recipe.width(i) = width;
  }
  return recipe;
}

// At the default effort the widths of rows and columns, which go together, matter to flags alone and that of
// similarity to signs alone: both are tried at once.
Recipe fit_flags_and_signs(const Chunk& chunk, const Recipe& usual) {
  const std::size_t size = chunk.geometry().size();
  Trials trials(chunk, std::clamp(size / kTrialShare, std::min(kLeastTrial, size), kMostTrial));
  std::uint8_t flags = 0, signs = 0;
  BitCosts least = trials.costs(usual);
  for (std::uint8_t width = 1; width < Recipe::kWidths; ++width) {
    const BitCosts other = trials.costs(with_widths(usual, kRows | kColumns | kSimilar, width));
    if (other.flags < least.flags) flags = width;
    if (other.signs < least.signs) signs = width;
    least = {std::min(least.flags, other.flags), std::min(least.signs, other.signs)};
  }
  return with_widths(with_widths(usual, kRows | kColumns, flags), kSimilar, signs);
}

// At the highest effort every width is tried, one after the other.
Recipe fit_thoroughly(const Chunk& chunk, Recipe best) {
  Trials trials(chunk, std::min(chunk.geometry().size(), kMostTrial));
  std::uint64_t least = trials.costs(best).sum();
  for (const unsigned prior : {kRows, kColumns, kSimilar, kSignWindow}) {
    if (prior == kSimilar && !has_similarity(chunk.geometry(), best.effort())) continue;
    for (std::uint8_t width = 1; width < Recipe::kWidths; ++width) {
      const Recipe other = with_widths(best, prior, width);
      const std::uint64_t cost = trials.costs(other).sum();
      if (cost >= least) continue;
      least = cost;
      best = other;
      break;
    }
  }
  return best;
}

Recipe fit(const Chunk& chunk, Effort effort) {
  const Recipe usual(effort);
  if (chunk.geometry().size() == 0) return usual;  // all of it is dead
  switch (effort) {
    case Effort::kQuick: break;
    case Effort::kDefault: return fit_flags_and_signs(chunk, usual);
    case Effort::kMax: return fit_thoroughly(chunk, usual);
  }
  return usual;
}

// Whether what the dead rows and columns would cost the model is more than naming them. A model finds out
// by itself that a row is nearly empty: its zeros are worth a quarter of what the rate of zeros says.
bool pays_to_name(const Living& living, const TritCounts& counts, const TritCounts& chunk) {
  const Geometry& left = living.left();
  const std::uint64_t dead = chunk.negative + chunk.zero + chunk.positive - left.size();
  BinaryRansEncoder coder;
  coder.reserve(living.most_bits());
  Living(living).code(coder);
  const std::uint32_t nonzero = squash(BaseRates(counts).flag);
  return coder.costs().sum() < dead * bit_cost(kProbOne - nonzero) / 4;
}

// Throws if a trit is not one of the tensor's; returns the counts of the chunk.
TritCounts checked(const std::int8_t* trits, std::size_t size, const TritCounts& tensor) {
  TritCounts chunk;
  for (std::size_t i = 0; i < size; ++i) {  // without a branch: one on trits would be mispredicted
    chunk.negative += trits[i] == -1 ? 1 : 0;
    chunk.zero += trits[i] == 0 ? 1 : 0;
    chunk.positive += trits[i] == 1 ? 1 : 0;
  }
  const std::uint64_t others = size - chunk.negative - chunk.zero - chunk.positive;
  if (others != 0 || (chunk.negative != 0 && tensor.negative == 0) || (chunk.zero != 0 && tensor.zero == 0) ||
      (chunk.positive != 0 && tensor.positive == 0)) {
    throw std::invalid_argument("context_encode: a trit is not of a counted symbol");
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

  Chunk chunk{trits, Living(plane(tensor)), counts};
  Living living(plane(tensor), trits);
  std::vector<std::int8_t> left;
  if (!living.all() && pays_to_name(living, counts, chunk_counts)) {
    left.resize(living.left().size());
    living.gather(trits, left.data());
    chunk = {left.data(), living, living.counts(counts)};
  }
  std::vector<std::uint8_t> adaptive = encode_adaptive(chunk, fit(chunk, effort));
  if (static_bytes(counts, chunk_counts) >= adaptive.size()) return adaptive;
  std::vector<std::uint8_t> payload = encode_static({trits, Living(plane(tensor)), counts});
  return payload.size() < adaptive.size() ? payload : adaptive;
}

}  // namespace ternzip::context
