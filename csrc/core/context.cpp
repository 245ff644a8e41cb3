#include "core/context.hpp"

#include <algorithm>
#include <limits>
#include <memory>
#include <stdexcept>

#include "core/context_run.hpp"

namespace ternzip::context {
namespace {

constexpr std::uint8_t kAdaptive = 1, kSimilarity = 2;

// A kernel beyond this is no kernel: the tensor is coded as a plain matrix.
constexpr std::size_t kMaxKernel = 1024;
// Fewer rows than this do not pay for what similarity keeps for every column.
constexpr std::size_t kMinSimilarRows = 16;

bool product(const Geometry& g, std::size_t& size) {
  size = 0;
  if (g.rows == 0 || g.cols == 0 || g.kernel == 0) return true;
  constexpr std::size_t kLimit = std::numeric_limits<std::size_t>::max() / 64;
  if (g.rows > kLimit / g.cols || g.rows * g.cols > kLimit / g.kernel) return false;
  size = g.rows * g.cols * g.kernel;
  return true;
}

Geometry plane(const Geometry& g) {
  return g.kernel > kMaxKernel ? Geometry{g.rows, g.cols * g.kernel, 1} : g;
}

// The mode without learning: two fixed rates.
struct StaticRates {
  std::uint32_t nonzero, negative;
  explicit StaticRates(const Counts& c)
      : nonzero(rate(c.negative + c.positive, c.zero)), negative(rate(c.negative, c.positive)) {}
  static std::uint32_t rate(std::uint64_t a, std::uint64_t b) {
    return squash(log_ratio(2 * a + 1, 2 * b + 1));
  }
};

template <class Coder, class Trit>
void code_static(Coder& coder, const Counts& counts, Trit* trits, std::size_t size) {
  constexpr bool kEncodes = std::is_same_v<Coder, BinaryRansEncoder>;
  const StaticRates rates(counts);
  const bool all_nonzero = counts.zero == 0, one_sign = counts.negative == 0 || counts.positive == 0;
  for (std::size_t i = 0; i < size; ++i) {
    bool nonzero = all_nonzero, negative = counts.positive == 0;
    if (!all_nonzero) nonzero = coder.code(rates.nonzero, kEncodes && trits[i] != 0);
    if (nonzero && !one_sign) negative = coder.code(rates.negative, kEncodes && trits[i] < 0);
    if constexpr (!kEncodes) trits[i] = static_cast<std::int8_t>(nonzero ? (negative ? -1 : 1) : 0);
  }
}

template <class Coder>
using QuickModel = Model<Coder, 32, false>;
template <class Coder>
using MaxModel = Model<Coder, 64, true>;

std::vector<std::uint8_t> encode_with(const std::int8_t* trits, const Geometry& geometry,
                                      const Counts& counts, Effort effort, std::uint8_t mode) {
  const std::size_t size = geometry.rows * geometry.cols * geometry.kernel;
  BinaryRansEncoder coder;
  coder.reserve(size + size / 2);
  const bool similarity = (mode & kSimilarity) != 0;
  if ((mode & kAdaptive) == 0) {
    code_static(coder, counts, trits, size);
  } else if (effort == Effort::kMax) {
    MaxModel<BinaryRansEncoder> model(coder, geometry, counts, similarity, trits);
    run(model);
  } else {
    QuickModel<BinaryRansEncoder> model(coder, geometry, counts, similarity, trits);
    run(model);
  }
  std::vector<std::uint8_t> payload{mode};
  coder.finish(payload);
  return payload;
}

bool trivial(const Counts& counts, std::size_t size) {
  return size == 0 || (counts.negative == 0) + (counts.zero == 0) + (counts.positive == 0) >= 2;
}

std::uint8_t known_modes(const Geometry& geometry, Effort effort) {
  return geometry.rows >= kMinSimilarRows && effort != Effort::kQuick ? kAdaptive | kSimilarity : kAdaptive;
}

}  // namespace

std::vector<std::uint8_t> encode(const std::int8_t* trits, const Geometry& tensor, const Counts& counts,
                                 Effort effort) {
  std::size_t size = 0;
  if (!product(tensor, size)) throw std::invalid_argument("context_encode: rows * cols * kernel overflows");
  for (std::size_t i = 0; i < size; ++i) {
    const int trit = trits[i];
    if (trit < -1 || trit > 1 ||
        (trit < 0   ? counts.negative
         : trit > 0 ? counts.positive
                    : counts.zero) == 0) {
      throw std::invalid_argument("context_encode: a trit is not of a counted symbol");
    }
  }
  if (trivial(counts, size)) return {};
  const Geometry geometry = plane(tensor);
  std::vector<std::uint8_t> best = encode_with(trits, geometry, counts, effort, 0);
  std::vector<std::uint8_t> other =
      encode_with(trits, geometry, counts, effort, known_modes(geometry, effort));
  if (other.size() < best.size()) best = std::move(other);
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
  if (job.payload_size == 0) return false;
  const std::uint8_t mode = job.payload[0];
  if (mode != 0 && mode != kAdaptive && mode != known_modes(plane(job.geometry), job.effort)) return false;
  return true;
}

// A body on its way; coder and model stay where they are, for they point at each other.
template <class M>
struct Body {
  DecodeJob& job;
  BinaryRansDecoder coder;
  M model;
  explicit Body(DecodeJob& j)
      : job(j),
        coder(j.payload + 1, j.payload_size - 1),
        model(coder, plane(j.geometry), j.counts, (j.payload[0] & kSimilarity) != 0, j.out) {}
  Body(const Body&) = delete;
  Body& operator=(const Body&) = delete;
  ~Body() { job.ok = coder.finished(); }
};

void decode_static(DecodeJob& job) {
  BinaryRansDecoder coder(job.payload + 1, job.payload_size - 1);
  code_static(coder, job.counts, job.out, job.geometry.rows * job.geometry.cols * job.geometry.kernel);
  job.ok = coder.finished();
}

void decode_one(DecodeJob& job) {
  if (job.effort == Effort::kMax) {
    Body<MaxModel<BinaryRansDecoder>> body(job);
    run(body.model);
  } else {
    Body<QuickModel<BinaryRansDecoder>> body(job);
    run(body.model);
  }
}

// Whether it can run side by side with another of its kind.
bool pairs(const DecodeJob& job) {
  const Counts& c = job.counts;
  return job.effort != Effort::kMax && c.negative != 0 && c.zero != 0 && c.positive != 0;
}

}  // namespace

void decode(DecodeJob* jobs, std::size_t count) {
  DecodeJob* waiting[3] = {};  // for a partner of the same shape
  for (DecodeJob* job = jobs; job != jobs + count; ++job) {
    if (!begin(*job)) continue;
    if ((job->payload[0] & kAdaptive) == 0) {
      decode_static(*job);
      continue;
    }
    DecodeJob*& partner = waiting[static_cast<std::size_t>(shape_of(plane(job->geometry).kernel))];
    if (!pairs(*job)) {
      decode_one(*job);
    } else if (partner == nullptr) {
      partner = job;
    } else {
      Body<QuickModel<BinaryRansDecoder>> first(*partner), second(*job);
      run(first.model, second.model);
      partner = nullptr;
    }
  }
  for (DecodeJob* job : waiting) {
    if (job != nullptr) decode_one(*job);
  }
}

}  // namespace ternzip::context
