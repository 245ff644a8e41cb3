#include <algorithm>
#include <optional>
#include <stdexcept>
#include <utility>

#include "core/codecs/context/band_encode.hpp"
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
void record(BinaryRansEncoder& coder, const Chunk& chunk, std::size_t rows, const Recipe& recipe) {
  with_model<BinaryRansEncoder>(chunk.geometry().kernel, recipe.effort, [&]<class M>(std::type_identity<M>) {
    for (Blocks blocks(chunk.geometry()); blocks.more(); blocks.next()) {
      Geometry block = blocks.geometry();
      const bool similarity = has_similarity(block, recipe.effort);
      block.rows = rows;
      M model(coder, block, chunk.counts, recipe.priors(), similarity, chunk.trits + blocks.first_weight(),
              blocks.stride());
      while (model.more()) model.code_row();
    }
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
  record(coder, chunk, chunk.geometry().rows, recipe);
  return payload_of(coder, recipe.code());
}

// What the first rows of a chunk come to by one recipe or another.
class Trials {
 public:
  Trials(const Chunk& chunk, std::size_t weights)
      : chunk_(chunk), first_(chunk.head(weights)), coder_(coder_for({chunk.trits, Living(first_), {}})) {}

  BitCosts costs(const Recipe& recipe) {
    coder_.clear();
    record(coder_, chunk_, first_.rows, recipe);
    return coder_.costs();
  }

 private:
  const Chunk& chunk_;
  Geometry first_;
  BinaryRansEncoder coder_;
};

// Kernels that can be smoothed, and a model that would compare them.
bool can_be_smooth(const Chunk& chunk, Effort effort) {
  return chunk.geometry().kernel > 1 && has_similarity(chunk.geometry(), effort);
}

// At the default effort: the widths of rows and columns, which go together, matter to flags alone, and what
// similarity does to signs alone. A trial says of both what a choice is worth.
Recipe fit_flags_and_signs(const Chunk& chunk, Recipe best) {
  struct Choice {
    Width flags, signs;
    Variant variant;
  };
  static constexpr Choice kChoices[] = {
      {Width::kHalf, Width::kUsual, Variant::kSmooth},
      {Width::kDouble, Width::kHalf, Variant::kUsual},
  };
  const std::size_t size = chunk.geometry().size();
  const bool smooth = can_be_smooth(chunk, best.effort);
  Trials trials(chunk, std::clamp(size / kTrialShare, std::min(kLeastTrial, size), kMostTrial));
  BitCosts least = trials.costs(best);
  for (const Choice& choice : kChoices) {
    Recipe other{best.effort};
    other.rows = other.columns = choice.flags;
    other.similar = choice.signs;
    if (smooth) other.variant = choice.variant;
    const BitCosts costs = trials.costs(other);
    if (costs.flags < least.flags) {
      best.rows = best.columns = choice.flags;
      least.flags = costs.flags;
    }
    if (costs.signs < least.signs) {
      best.similar = other.similar;
      best.variant = other.variant;
      least.signs = costs.signs;
    }
  }
  return best;
}

// At the highest effort everything is tried, one after the other.
Recipe fit_thoroughly(const Chunk& chunk, Recipe best) {
  Trials trials(chunk, std::min(chunk.geometry().size(), kMostTrial));
  std::uint64_t least = trials.costs(best).sum();
  const auto try_recipe = [&](const Recipe& recipe) {  // returns whether it is better
    const std::uint64_t cost = trials.costs(recipe).sum();
    if (cost >= least) return false;
    least = cost;
    best = recipe;
    return true;
  };
  const auto try_widths = [&](Width Recipe::* prior) {
    for (const Width width : {Width::kHalf, Width::kDouble}) {
      Recipe other = best;
      other.*prior = width;
      if (try_recipe(other)) break;
    }
  };
  const auto try_variant = [&](Variant variant) {
    Recipe other = best;
    other.variant = variant;
    return try_recipe(other);
  };
  try_widths(&Recipe::rows);
  try_widths(&Recipe::columns);
  if (can_be_smooth(chunk, best.effort)) try_variant(Variant::kSmooth);
  if (best.variant == Variant::kUsual) try_variant(Variant::kNarrowSigns);
  if (has_similarity(chunk.geometry(), best.effort)) try_widths(&Recipe::similar);
  return best;
}

Recipe fit(const Chunk& chunk, Effort effort) {
  const Recipe usual{effort};
  if (chunk.geometry().size() == 0) return usual;  // all of it is dead
  switch (effort) {
    case Effort::kQuick: break;
    case Effort::kDefault: return fit_flags_and_signs(chunk, usual);
    case Effort::kMax: return fit_thoroughly(chunk, usual);
  }
  return usual;
}

// Chunks of so many weights are coded in bands, which are decoded several times as fast, where that takes but
// one byte in 200 more. The highest effort codes smaller ones in bands, too, and then keeps what is smaller.
// What bands know of columns they learn sixteen rows later: their trial is longer, in rows and in weights.
constexpr std::size_t kLargeChunk = std::size_t{1} << 20, kLeastBanded = std::size_t{1} << 12;
constexpr std::size_t kBandedTrial = std::size_t{1} << 19, kBandedTrialRows = 128;
constexpr std::uint64_t kBandedExcess = 200;

// Whether a chunk may be better coded in bands than by a recipe, and how.
std::optional<BandRecipe> fit_banded(const Chunk& chunk, const Recipe& recipe) {
  const Geometry& geometry = chunk.geometry();
  const bool thorough = recipe.effort == Effort::kMax;
  if (!has_bands(geometry, chunk.counts) || geometry.size() < (thorough ? kLeastBanded : kLargeChunk)) {
    return std::nullopt;
  }
  const std::size_t rows = std::max(kBandedTrial / (geometry.cols * geometry.kernel), kBandedTrialRows);
  const std::size_t weights = rows * geometry.cols * geometry.kernel - 1;
  const Geometry head = chunk.head(weights);
  BandTrial banded = try_banded(chunk.trits, head, chunk.counts);
  if (thorough) return banded.recipe;
  // The head's share of what bands cost at the start.
  banded.cost += static_cast<std::uint64_t>(kBandStartBytes) * 8 * 65536 * head.size() / geometry.size();
  const std::uint64_t cost = Trials(chunk, weights).costs(recipe).sum();
  if (banded.cost > cost + cost / kBandedExcess) return std::nullopt;
  return banded.recipe;
}

std::vector<std::uint8_t> encode_by_best(const Chunk& chunk, Effort effort) {
  const Recipe recipe = fit(chunk, effort);
  const auto banded = fit_banded(chunk, recipe);
  if (!banded) return encode_adaptive(chunk, recipe);
  std::vector<std::uint8_t> payload = encode_banded(chunk.trits, chunk.living, chunk.counts, *banded);
  if (effort == Effort::kMax) {
    std::vector<std::uint8_t> adaptive = encode_adaptive(chunk, recipe);
    if (adaptive.size() < payload.size()) return adaptive;
  }
  return payload;
}

// Whether what the dead rows and columns would cost the model is more than naming them. A model finds out
// by itself that a row is nearly empty: its zeros are worth half of what the rate of zeros says.
bool pays_to_name(const Living& living, const TritCounts& counts, const TritCounts& chunk) {
  const Geometry& left = living.left();
  const std::uint64_t dead = chunk.negative + chunk.zero + chunk.positive - left.size();
  BinaryRansEncoder coder;
  coder.reserve(living.most_bits());
  Living(living).code(coder);
  const std::uint32_t nonzero = squash(BaseRates(counts).flag);
  return coder.costs().sum() < dead * bit_cost(kProbOne - nonzero) / 2;
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
  std::vector<std::uint8_t> adaptive = encode_by_best(chunk, effort);
  if (!BandRecipe::is_code(adaptive[0]) &&
      !enough_bytes(adaptive.size(), size, effort)) {  // all but empty: not worth the time of this effort
    adaptive = encode_adaptive(chunk, fit(chunk, Effort::kQuick));
    if (!enough_bytes(adaptive.size(), size, Effort::kQuick)) adaptive.clear();
  }
  if (!adaptive.empty() && static_bytes(counts, chunk_counts) >= adaptive.size()) return adaptive;
  std::vector<std::uint8_t> payload = encode_static({trits, Living(plane(tensor)), counts});
  return adaptive.empty() || payload.size() < adaptive.size() ? payload : adaptive;
}

}  // namespace ternzip::context
