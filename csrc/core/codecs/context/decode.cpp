#include <algorithm>
#include <optional>

#include "core/codecs/context/band_decode.hpp"
#include "core/codecs/context/bands.hpp"
#include "core/codecs/context/chunk.hpp"
#include "core/codecs/context/living.hpp"
#include "core/codecs/context/recipe.hpp"

namespace ternzip::context {
namespace {

// Whether the payload has a body to decode; else `accepted` and the output are final.
bool begin(const DecodeJob& job, bool& accepted) {
  accepted = false;
  std::size_t size = 0;
  if (!product(job.geometry, size)) return false;
  std::fill_n(job.out, size, std::int8_t{0});
  const TritCounts& counts = job.counts;
  if (trivial(counts, size)) {
    const int only = counts.positive != 0 ? 1 : counts.negative != 0 ? -1 : 0;
    std::fill_n(job.out, size, static_cast<std::int8_t>(only));
    accepted = job.payload_size == 0;
    return false;
  }
  if (job.payload_size == 0) return false;
  const std::uint8_t code = job.payload[0];
  if (BandRecipe::is_code(code)) return has_bands(job.geometry, counts);
  if (code >= Recipe::kEnd) return false;
  return code == Recipe::kStatic || enough_bytes(job.payload_size, size, Recipe::of_code(code).effort);
}

// A chunk that is being decoded; coder and model stay where they are, for they point at each other.
template <class M>
class ChunkDecoder {
 public:
  explicit ChunkDecoder(const DecodeJob& job) : ChunkDecoder(job, Recipe::of_code(job.payload[0])) {}
  ChunkDecoder(const DecodeJob& job, const Recipe& recipe)
      : recipe_(recipe),
        coder_(job.payload + 1, job.payload_size - 1),
        living_(survivors(coder_, plane(job.geometry))),
        counts_(living_.counts(job.counts)),
        blocks_(living_.left()),
        out_(job.out) {}
  ChunkDecoder(const ChunkDecoder&) = delete;
  ChunkDecoder& operator=(const ChunkDecoder&) = delete;

  // Whether a row is left, which its model codes next.
  bool more() {
    while (!model_ || !model_->more()) {
      if (!blocks_.more()) return false;
      const Geometry block = blocks_.geometry();
      model_.emplace(coder_, block, counts_, recipe_.priors(), has_similarity(block, recipe_.effort),
                     out_ + blocks_.first_weight(), blocks_.stride());
      blocks_.next();
    }
    return true;
  }
  M& model() noexcept { return *model_; }

  static Living survivors(BinaryRansDecoder& coder, const Geometry& geometry) {
    Living living(geometry);
    living.code(coder);
    return living;
  }

  // Decodes what rows are left, puts all weights in their places and says whether the payload ended well. Not
  // in a destructor: this allocates.
  bool finish() {
    while (more()) model_->code_row();
    living_.scatter(out_);
    return coder_.finished();
  }

 private:
  Recipe recipe_;
  BinaryRansDecoder coder_;
  Living living_;
  TritCounts counts_;
  Blocks blocks_;
  std::optional<M> model_;  // of the block that blocks_ is beyond
  std::int8_t* out_;
};

bool decode_static(const DecodeJob& job) {
  BinaryRansDecoder coder(job.payload + 1, job.payload_size - 1);
  code_static(coder, job.counts, job.out, job.geometry.size());
  return coder.finished();
}

bool decode_one(const DecodeJob& job) {
  if (job.payload[0] == Recipe::kStatic) return decode_static(job);
  if (BandRecipe::is_code(job.payload[0])) return decode_banded(job);
  bool accepted = false;
  with_model<BinaryRansDecoder>(
      plane(job.geometry).kernel, Recipe::of_code(job.payload[0]).effort,
      [&]<class M>(std::type_identity<M>) { accepted = ChunkDecoder<M>(job).finish(); });
  return accepted;
}

// Two of the same shape.
void decode_two(const DecodeJob& one, const DecodeJob& two, bool& one_accepted, bool& two_accepted) {
  with_shape(plane(one.geometry).kernel, [&]<Shape kShape>(std::integral_constant<Shape, kShape>) {
    using M = QuickModel<BinaryRansDecoder, kShape>;
    ChunkDecoder<M> first(one), second(two);
    while (first.more() && second.more()) M::code_rows(first.model(), second.model());
    one_accepted = first.finish();
    two_accepted = second.finish();
  });
}

// Whether it can run side by side with another of its kind.
bool pairs(const DecodeJob& job) {
  const std::uint8_t code = job.payload[0];
  return code != Recipe::kStatic && code < Recipe::kEnd && Recipe::of_code(code).effort != Effort::kMax;
}

}  // namespace

bool decode(const DecodeJob& job) {
  // Without what runs two side by side, which a program that has no use for it need not hold.
  bool accepted = false;
  return begin(job, accepted) ? decode_one(job) : accepted;
}

void decode_many(const DecodeJob* jobs, std::size_t count, bool* accepted) {
  constexpr std::size_t kNone = ~std::size_t{0};
  std::size_t waiting[kShapes] = {kNone, kNone, kNone};  // of each shape, a job without a partner
  for (std::size_t i = 0; i < count; ++i) {
    const DecodeJob& job = jobs[i];
    if (!begin(job, accepted[i])) continue;
    if (!pairs(job)) {
      accepted[i] = decode_one(job);
      continue;
    }
    std::size_t& partner = waiting[static_cast<std::size_t>(shape_of(plane(job.geometry).kernel))];
    if (partner == kNone) {
      partner = i;
    } else {
      decode_two(jobs[partner], job, accepted[partner], accepted[i]);
      partner = kNone;
    }
  }
  for (const std::size_t i : waiting) {
    if (i != kNone) accepted[i] = decode_one(jobs[i]);
  }
}

}  // namespace ternzip::context
