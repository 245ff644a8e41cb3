#include "core/context.hpp"

#include <algorithm>
#include <array>
#include <limits>
#include <stdexcept>
#include <type_traits>

#include "core/context_living.hpp"
#include "core/context_model.hpp"
#include "core/context_recipe.hpp"

namespace ternzip::context {
namespace {

// A kernel beyond this is no kernel: the tensor is coded as a plain matrix.
constexpr std::size_t kMaxKernel = 1024;
// Fewer rows than this do not pay for what similarity keeps for every column.
constexpr std::size_t kMinSimilarRows = 16;

// Whether the numbers of all weights, and those of a row's in 32 bits, can be told.
bool product(const Geometry& g, std::size_t& size) {
  size = 0;
  if (g.rows == 0 || g.cols == 0 || g.kernel == 0) return true;
  constexpr std::size_t kLimit = std::numeric_limits<std::size_t>::max() / 64, kRowLimit = 0xFFFFFFFF;
  if (g.cols > kRowLimit / g.kernel || g.rows > kLimit / (g.cols * g.kernel)) return false;
  size = g.rows * g.cols * g.kernel;
  return true;
}

Geometry plane(const Geometry& g) {
  return g.kernel > kMaxKernel ? Geometry{g.rows, g.cols * g.kernel, 1} : g;
}

// The mode without learning: two fixed rates.
struct StaticRates {
  std::uint32_t nonzero, negative;
  bool all_nonzero, one_sign;  // these need no flags, or no signs
  explicit StaticRates(const Counts& c)
      : nonzero(rate(c.negative + c.positive, c.zero)),
        negative(rate(c.negative, c.positive)),
        all_nonzero(c.zero == 0),
        one_sign(c.negative == 0 || c.positive == 0) {}
  static std::uint32_t rate(std::uint64_t a, std::uint64_t b) {
    return squash(log_ratio(2 * a + 1, 2 * b + 1));
  }

  // What a payload comes to, within a byte.
  std::uint64_t bytes(const Counts& chunk) const {
    std::uint64_t bits = 0;  // Q16
    if (!all_nonzero) {
      bits = (chunk.negative + chunk.positive) * cost(nonzero) + chunk.zero * cost(kProbOne - nonzero);
    }
    if (!one_sign) bits += chunk.negative * cost(negative) + chunk.positive * cost(kProbOne - negative);
    return 1 + (bits >> 19);
  }
  static std::uint64_t cost(std::uint32_t p) { return static_cast<std::uint64_t>((16 << 16) - log2_q16(p)); }
};

template <class Coder, class Trit>
void code_static(Coder& coder, const Counts& counts, Trit* trits, std::size_t size) {
  constexpr bool kEncodes = std::is_same_v<Coder, BinaryRansEncoder>;
  const StaticRates rates(counts);
  for (std::size_t i = 0; i < size; ++i) {
    bool nonzero = rates.all_nonzero, negative = counts.positive == 0;
    if (!rates.all_nonzero) nonzero = coder.code(rates.nonzero, kEncodes && trits[i] != 0);
    if (nonzero && !rates.one_sign) negative = coder.code(rates.negative, kEncodes && trits[i] < 0);
    if constexpr (!kEncodes) trits[i] = static_cast<std::int8_t>(nonzero ? (negative ? -1 : 1) : 0);
  }
}

template <class Coder, Shape kShape>
using QuickModel = Model<Coder, kShape, 32, false>;
template <class Coder, Shape kShape>
using MaxModel = Model<Coder, kShape, 128, true>;

template <Shape kShape>
using OfShape = std::integral_constant<Shape, kShape>;

// Calls `code` with the shape of a kernel as a constant.
template <class Code>
void with_shape(std::size_t kernel, const Code& code) {
  switch (shape_of(kernel)) {
    case Shape::kTree: return code(OfShape<Shape::kTree>{});
    case Shape::kPlane: return code(OfShape<Shape::kPlane>{});
    case Shape::kLine: return code(OfShape<Shape::kLine>{});
  }
}

bool has_similarity(const Geometry& geometry, Effort effort) {
  return geometry.rows >= kMinSimilarRows && effort != Effort::kQuick;
}

// A chunk with two symbols or more, or what lives of one, to be coded by whatever recipe.
struct Chunk {
  const std::int8_t* trits;
  Living living;
  Counts counts;

  const Geometry& geometry() const noexcept { return living.left(); }

  std::vector<std::uint8_t> encode_static() const {
    const std::size_t size = geometry().rows * geometry().cols * geometry().kernel;
    return encode(Recipe::kStatic, size, [&](auto& coder) { code_static(coder, counts, trits, size); });
  }
  std::vector<std::uint8_t> encode_adaptive(const Recipe& recipe) const {
    const std::size_t size = geometry().rows * geometry().cols * geometry().kernel;
    return encode(recipe.code(), size, [&](auto& coder) {
      Living(living).code(coder);
      with_shape(geometry().kernel, [&](auto shape) {
        if (recipe.effort() == Effort::kMax) {
          run<MaxModel<BinaryRansEncoder, shape()>>(coder, recipe);
        } else {
          run<QuickModel<BinaryRansEncoder, shape()>>(coder, recipe);
        }
      });
    });
  }

 private:
  template <class Code>
  static std::vector<std::uint8_t> encode(std::uint8_t recipe, std::size_t size, const Code& code) {
    BinaryRansEncoder coder;
    coder.reserve(size + size / 2);
    code(coder);
    std::vector<std::uint8_t> payload{recipe};
    coder.finish(payload);
    return payload;
  }
  template <class M>
  void run(BinaryRansEncoder& coder, const Recipe& recipe) const {
    M model(coder, geometry(), counts, recipe.priors(), has_similarity(geometry(), recipe.effort()), trits);
    while (model.more()) model.code_row();
  }
};

// Tries other widths of the priors, one after the other; keeps what makes the payload smaller. The default
// effort tries rows and columns together, and similarity; the quick one nothing.
void widen_or_narrow(const Chunk& chunk, Recipe recipe, std::vector<std::uint8_t>& best) {
  static constexpr std::array<unsigned, 2> kQuickly = {0b0011, 0b0100};
  static constexpr std::array<unsigned, 4> kThoroughly = {0b0001, 0b0010, 0b0100, 0b1000};
  const bool thorough = recipe.effort() == Effort::kMax;
  const unsigned* groups = thorough ? kThoroughly.data() : kQuickly.data();
  const std::size_t count = recipe.effort() == Effort::kQuick ? 0 : thorough ? 4 : 2;
  for (std::size_t group = 0; group < count; ++group) {
    if (groups[group] == 0b0100 && !has_similarity(chunk.geometry(), recipe.effort())) continue;
    for (const std::uint8_t width : {std::uint8_t{1}, std::uint8_t{2}}) {
      Recipe other = recipe;
      for (std::size_t i = 0; i < Priors::kCount; ++i) {
        if ((groups[group] >> i & 1) != 0) other.width(i) = width;
      }
      std::vector<std::uint8_t> payload = chunk.encode_adaptive(other);
      if (payload.size() >= best.size()) continue;
      best = std::move(payload);
      recipe = other;
      break;
    }
  }
}

bool trivial(const Counts& counts, std::size_t size) {
  return size == 0 || (counts.negative == 0) + (counts.zero == 0) + (counts.positive == 0) >= 2;
}

}  // namespace

std::vector<std::uint8_t> encode(const std::int8_t* trits, const Geometry& tensor, const Counts& counts,
                                 Effort effort) {
  std::size_t size = 0;
  if (!product(tensor, size)) {
    throw std::invalid_argument("context_encode: rows * cols * kernel overflows, or a row has 2^32 weights");
  }
  Counts here;
  for (std::size_t i = 0; i < size; ++i) {
    const int trit = trits[i];
    ++(trit < 0 ? here.negative : trit > 0 ? here.positive : here.zero);
    if (trit < -1 || trit > 1 ||
        (trit < 0   ? counts.negative
         : trit > 0 ? counts.positive
                    : counts.zero) == 0) {
      throw std::invalid_argument("context_encode: a trit is not of a counted symbol");
    }
  }
  if (trivial(counts, size)) return {};
  const Recipe recipe(effort);
  Chunk chunk{trits, Living(plane(tensor)), counts};
  std::vector<std::uint8_t> best = chunk.encode_adaptive(recipe);

  Living living(plane(tensor), trits);
  std::vector<std::int8_t> part;
  if (!living.all()) {
    part.resize(living.left().rows * living.left().cols * living.left().kernel);
    living.gather(trits, part.data());
    const Counts rest = living.counts(counts);
    Chunk without{part.data(), std::move(living), rest};
    std::vector<std::uint8_t> payload = without.encode_adaptive(recipe);
    if (payload.size() < best.size()) {
      best = std::move(payload);
      chunk = std::move(without);
    }
  }
  if (StaticRates(counts).bytes(here) < best.size())
    return Chunk{trits, Living(plane(tensor)), counts}.encode_static();
  widen_or_narrow(chunk, recipe, best);
  return best;
}

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
  code_static(coder, job.counts, job.out, job.geometry.rows * job.geometry.cols * job.geometry.kernel);
  job.ok = coder.finished();
}

template <class M>
void decode_one(DecodeJob& job, const Recipe& recipe) {
  Body<M> body(job, recipe);
  while (body.model.more()) body.model.code_row();
}

void decode_one(DecodeJob& job) {
  const Recipe recipe = Recipe::of_code(job.payload[0]);
  with_shape(plane(job.geometry).kernel, [&](auto shape) {
    if (recipe.effort() == Effort::kMax) {
      decode_one<MaxModel<BinaryRansDecoder, shape()>>(job, recipe);
    } else {
      decode_one<QuickModel<BinaryRansDecoder, shape()>>(job, recipe);
    }
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
