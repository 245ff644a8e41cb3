#include <algorithm>

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
  return job.payload_size != 0 && job.payload[0] < Recipe::kEnd;
}

// A chunk that is being decoded; coder and model stay where they are, for they point at each other.
template <class M>
struct ChunkDecoder {
  BinaryRansDecoder coder;
  Living living;
  M model;
  std::int8_t* out;

  explicit ChunkDecoder(const DecodeJob& job) : ChunkDecoder(job, Recipe::of_code(job.payload[0])) {}
  ChunkDecoder(const DecodeJob& job, const Recipe& recipe)
      : coder(job.payload + 1, job.payload_size - 1),
        living(survivors(coder, plane(job.geometry))),
        model(coder, living.left(), living.counts(job.counts), recipe.priors(),
              has_similarity(living.left(), recipe.effort()), job.out),
        out(job.out) {}
  ChunkDecoder(const ChunkDecoder&) = delete;
  ChunkDecoder& operator=(const ChunkDecoder&) = delete;

  static Living survivors(BinaryRansDecoder& coder, const Geometry& geometry) {
    Living living(geometry);
    living.code(coder);
    return living;
  }

  // Decodes what rows are left, puts all weights in their places and says whether the payload ended well. Not
  // in a destructor: this allocates.
  bool finish() {
    while (model.more()) model.code_row();
    living.scatter(out);
    return coder.finished();
  }
};

bool decode_static(const DecodeJob& job) {
  BinaryRansDecoder coder(job.payload + 1, job.payload_size - 1);
  code_static(coder, job.counts, job.out, job.geometry.size());
  return coder.finished();
}

bool decode_one(const DecodeJob& job) {
  bool accepted = false;
  with_model<BinaryRansDecoder>(
      plane(job.geometry).kernel, Recipe::of_code(job.payload[0]).effort(),
      [&]<class M>(std::type_identity<M>) { accepted = ChunkDecoder<M>(job).finish(); });
  return accepted;
}

// Two of the same shape.
void decode_two(const DecodeJob& one, const DecodeJob& two, bool& one_accepted, bool& two_accepted) {
  with_shape(plane(one.geometry).kernel, [&]<Shape kShape>(std::integral_constant<Shape, kShape>) {
    using M = QuickModel<BinaryRansDecoder, kShape>;
    ChunkDecoder<M> first(one), second(two);
    while (first.model.more() && second.model.more()) M::code_rows(first.model, second.model);
    one_accepted = first.finish();
    two_accepted = second.finish();
  });
}

// Whether it can run side by side with another of its kind.
bool pairs(const DecodeJob& job) { return Recipe::of_code(job.payload[0]).effort() != Effort::kMax; }

}  // namespace

bool decode(const DecodeJob& job) {
  bool accepted = false;
  decode_many(&job, 1, &accepted);
  return accepted;
}

void decode_many(const DecodeJob* jobs, std::size_t count, bool* accepted) {
  constexpr std::size_t kNone = ~std::size_t{0};
  std::size_t waiting[kShapes] = {kNone, kNone, kNone};  // of each shape, a job without a partner
  for (std::size_t i = 0; i < count; ++i) {
    const DecodeJob& job = jobs[i];
    if (!begin(job, accepted[i])) continue;
    if (job.payload[0] == Recipe::kStatic) {
      accepted[i] = decode_static(job);
      continue;
    }
    std::size_t& partner = waiting[static_cast<std::size_t>(shape_of(plane(job.geometry).kernel))];
    if (!pairs(job)) {
      accepted[i] = decode_one(job);
    } else if (partner == kNone) {
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
