// What the encoder and the decoder of a chunk agree on besides the model.
#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>
#include <type_traits>

#include "core/binary_rans.hpp"
#include "core/context.hpp"
#include "core/context_model.hpp"
#include "core/context_tables.hpp"

namespace ternzip::context {

// A kernel beyond this is no kernel: the tensor is coded as a plain matrix.
inline constexpr std::size_t kMaxKernel = 1024;
// Fewer rows than this do not pay for what similarity keeps for every column.
inline constexpr std::size_t kMinSimilarRows = 16;

// Whether the numbers of all weights, and those of a row's in 32 bits, can be told.
inline bool product(const Geometry& g, std::size_t& size) {
  size = 0;
  if (g.rows == 0 || g.cols == 0 || g.kernel == 0) return true;
  constexpr std::size_t kLimit = std::numeric_limits<std::size_t>::max() / 64, kRowLimit = 0xFFFFFFFF;
  if (g.cols > kRowLimit / g.kernel || g.rows > kLimit / (g.cols * g.kernel)) return false;
  size = g.rows * g.cols * g.kernel;
  return true;
}

inline Geometry plane(const Geometry& g) {
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

inline bool has_similarity(const Geometry& geometry, Effort effort) {
  return geometry.rows >= kMinSimilarRows && effort != Effort::kQuick;
}

// Whether the counts say it all.
inline bool trivial(const Counts& counts, std::size_t size) {
  return size == 0 || (counts.negative == 0) + (counts.zero == 0) + (counts.positive == 0) >= 2;
}

}  // namespace ternzip::context
