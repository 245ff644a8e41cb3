// What the encoder and the decoder of a chunk agree on besides the model.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <type_traits>

#include "core/codecs/context/base_rates.hpp"
#include "core/codecs/context/binary_rans.hpp"
#include "core/codecs/context/context.hpp"
#include "core/codecs/context/model.hpp"
#include "core/codecs/context/tables.hpp"

namespace ternzip::context {

// A kernel beyond this is no kernel: the tensor is coded as a plain matrix.
inline constexpr std::size_t kMaxKernel = 1024;
// Fewer rows than this do not pay for what similarity keeps for every column. Lanes of all the weights of a
// row beyond this limit would take more memory than a payload may ask for.
inline constexpr std::size_t kMinSimilarRows = 16, kMaxSimilarLanes = std::size_t{1} << 21;
// Rows of more weights than this are coded in blocks of columns, for the same reason.
inline constexpr std::size_t kMaxRow = std::size_t{1} << 18;

// Whether the numbers of all weights, and those of a row's in 32 bits, can be told.
inline bool product(const Geometry& g, std::size_t& size) {
  size = 0;
  if (g.rows == 0 || g.cols == 0 || g.kernel == 0) return true;
  constexpr std::size_t kLimit = std::numeric_limits<std::size_t>::max() / 64, kRowLimit = 0xFFFFFFFF;
  if (g.cols > kRowLimit / g.kernel || g.rows > kLimit / (g.cols * g.kernel)) return false;
  size = g.size();
  return true;
}

inline Geometry plane(const Geometry& g) {
  return g.kernel > kMaxKernel ? Geometry{g.rows, g.cols * g.kernel, 1} : g;
}

// Whether a payload of `bytes` may stand for `size` trits at an effort: no byte takes more time to decode
// than 2^17, 2^16 or 2^15 of them.
inline bool enough_bytes(std::size_t bytes, std::size_t size, Effort effort) {
  return bytes >= (size >> (18 - static_cast<unsigned>(effort)));
}

// The mode without learning: two fixed rates.
template <class Coder, class Trit>
void code_static(Coder& coder, const TritCounts& counts, Trit* trits, std::size_t size) {
  constexpr bool kEncodes = Coder::kEncodes;
  const BaseRates base_rates(counts);
  const std::uint32_t nonzeros = squash(base_rates.flag), negatives = squash(base_rates.sign);
  for (std::size_t i = 0; i < size; ++i) {
    std::uint32_t nonzero = 1;
    if (!base_rates.flags_given) nonzero = coder.code(nonzeros, kEncodes && trits[i] != 0);
    std::int8_t sign = base_rates.given_trit;
    if (nonzero && !base_rates.signs_given) sign = coder.code(negatives, kEncodes && trits[i] < 0) ? -1 : 1;
    if constexpr (!kEncodes) trits[i] = nonzero ? sign : std::int8_t{0};
  }
}

// What the payload of that comes to, within a byte.
inline std::uint64_t static_bytes(const TritCounts& tensor, const TritCounts& chunk) {
  const auto cost = [](std::uint32_t p) { return static_cast<std::uint64_t>((16 << 16) - log2_q16(p)); };
  const auto bits = [&](std::uint32_t p, std::uint64_t ones, std::uint64_t zeros) {  // Q16
    return ones * cost(p) + zeros * cost(kProbOne - p);
  };
  const BaseRates base_rates(tensor);
  std::uint64_t sum = 0;
  if (!base_rates.flags_given)
    sum += bits(squash(base_rates.flag), chunk.negative + chunk.positive, chunk.zero);
  if (!base_rates.signs_given) sum += bits(squash(base_rates.sign), chunk.negative, chunk.positive);
  return 1 + (sum >> 19);
}

inline constexpr std::size_t kQuickLanes = 32, kMaxLanes = 128;
template <class Coder, Shape kShape>
using QuickModel = Model<Coder, kShape, kQuickLanes, false>;
template <class Coder, Shape kShape>
using MaxModel = Model<Coder, kShape, kMaxLanes, true>;

// Calls `code` with the shape of a kernel as a constant.
template <class Code>
void with_shape(std::size_t kernel, const Code& code) {
  switch (shape_of(kernel)) {
    case Shape::kTree: return code(std::integral_constant<Shape, Shape::kTree>{});
    case Shape::kPlane: return code(std::integral_constant<Shape, Shape::kPlane>{});
    case Shape::kLine: return code(std::integral_constant<Shape, Shape::kLine>{});
  }
}
// Calls `code` with the model of a kernel and an effort, as a std::type_identity.
template <class Coder, class Code>
void with_model(std::size_t kernel, Effort effort, const Code& code) {
  with_shape(kernel, [&]<Shape kShape>(std::integral_constant<Shape, kShape>) {
    if (effort == Effort::kMax) {
      code(std::type_identity<MaxModel<Coder, kShape>>{});
    } else {
      code(std::type_identity<QuickModel<Coder, kShape>>{});
    }
  });
}

inline bool has_similarity(const Geometry& geometry, Effort effort) {
  const std::size_t lanes = effort == Effort::kMax ? kMaxLanes : kQuickLanes;
  return geometry.rows >= kMinSimilarRows && effort != Effort::kQuick &&
         geometry.cols * geometry.kernel <= kMaxSimilarLanes / lanes;
}

// The blocks of columns that a chunk is coded in, one after the other, each by a model of its own.
class Blocks {
 public:
  explicit Blocks(const Geometry& whole)
      : whole_(whole), width_(std::min(whole.cols, kMaxRow / std::max<std::size_t>(whole.kernel, 1))) {}

  bool more() const noexcept { return begin_ < whole_.cols; }
  std::size_t first_weight() const noexcept { return begin_ * whole_.kernel; }
  std::size_t stride() const noexcept { return whole_.cols * whole_.kernel; }
  Geometry geometry() const noexcept {
    return {whole_.rows, std::min(width_, whole_.cols - begin_), whole_.kernel};
  }
  void next() noexcept { begin_ += width_; }

 private:
  Geometry whole_;
  std::size_t width_, begin_ = 0;
};

// Whether the counts say it all.
inline bool trivial(const TritCounts& counts, std::size_t size) {
  return size == 0 || (counts.negative == 0) + (counts.zero == 0) + (counts.positive == 0) >= 2;
}

}  // namespace ternzip::context
