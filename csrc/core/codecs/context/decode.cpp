#include <algorithm>

#include "core/codecs/context/chunk.hpp"
#include "core/codecs/context/living.hpp"
#include "core/codecs/context/recipe.hpp"

namespace ternzip::context {
namespace {

// Whether the payload has a body to decode; else sets `job.ok` and the output.
bool begin(DecodeJob& job) {
  job.ok = false;
  std::size_t size = 0;
  if (!product(job.geometry, size)) return false;
  std::fill_n(job.out, size, std::int8_t{0});
  const Counts& counts = job.counts;
  if (trivial(counts, size)) {
    const int only = counts.positive != 0 ? 1 : counts.negative != 0 ? -1 : 0;
    std::fill_n(job.out, size, static_cast<std::int8_t>(only));
    job.ok = job.payload_size == 0;
    return false;
  }
  return job.payload_size != 0 && job.payload[0] < Recipe::kEnd;
}

// A body on its way; coder and model stay where they are, for they point at each other.
template <class M>
struct Body {
  DecodeJob& job;
  BinaryRansDecoder coder;
  Living living;
  M model;
  Body(DecodeJob& j, const Recipe& recipe)
      : job(j),
        coder(j.payload + 1, j.payload_size - 1),
        living(survivors(coder, plane(j.geometry))),
        model(coder, living.left(), living.counts(j.counts), recipe.priors(),
              has_similarity(living.left(), recipe.effort()), j.out) {}
  Body(const Body&) = delete;
  Body& operator=(const Body&) = delete;
  ~Body() {
    job.ok = coder.finished();
    living.scatter(job.out);
  }

  static Living survivors(BinaryRansDecoder& coder, const Geometry& geometry) {
    Living living(geometry);
    living.code(coder);
    return living;
  }
};

void decode_static(DecodeJob& job) {
  BinaryRansDecoder coder(job.payload + 1, job.payload_size - 1);
  code_static(coder, job.counts, job.out, job.geometry.size());
  job.ok = coder.finished();
}

void decode_one(DecodeJob& job) {
  const Recipe recipe = Recipe::of_code(job.payload[0]);
  with_model<BinaryRansDecoder>(plane(job.geometry).kernel, recipe.effort(), [&](auto type) {
    Body<typename decltype(type)::type> body(job, recipe);
    while (body.model.more()) body.model.code_row();
  });
}

// Two of the same shape.
void decode_two(DecodeJob& one, DecodeJob& two) {
  with_shape(plane(one.geometry).kernel, [&](auto shape) {
    using M = QuickModel<BinaryRansDecoder, shape()>;
    Body<M> first(one, Recipe::of_code(one.payload[0])), second(two, Recipe::of_code(two.payload[0]));
    while (first.model.more() && second.model.more()) M::code_rows(first.model, second.model);
    while (first.model.more()) first.model.code_row();
    while (second.model.more()) second.model.code_row();
  });
}

// Whether it can run side by side with another of its kind.
bool pairs(const DecodeJob& job) { return Recipe::of_code(job.payload[0]).effort() != Effort::kMax; }

}  // namespace

void decode(DecodeJob* jobs, std::size_t count) {
  DecodeJob* waiting[3] = {};  // for a partner of the same shape
  for (DecodeJob* job = jobs; job != jobs + count; ++job) {
    if (!begin(*job)) continue;
    if (job->payload[0] == Recipe::kStatic) {
      decode_static(*job);
      continue;
    }
    DecodeJob*& partner = waiting[static_cast<std::size_t>(shape_of(plane(job->geometry).kernel))];
    if (!pairs(*job)) {
      decode_one(*job);
    } else if (partner == nullptr) {
      partner = job;
    } else {
      decode_two(*partner, *job);
      partner = nullptr;
    }
  }
  for (DecodeJob* job : waiting) {
    if (job != nullptr) decode_one(*job);
  }
}

}  // namespace ternzip::context
