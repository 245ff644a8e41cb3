// The adaptive model of the context codec: an online logistic regression over the tensor's own geometry.
//
// Every weight is a flag (is it nonzero?) and, if it is, a sign (is it negative?). A row's flags come first
// and then its signs; at the highest effort each sign follows its flag, so that the prediction for the sign
// can serve as the flag's magnitude. Encoder and decoder run this same class.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <type_traits>
#include <utility>
#include <vector>

#include "core/base/compiler.hpp"
#include "core/codecs/context/bases.hpp"
#include "core/codecs/context/binary_rans.hpp"
#include "core/codecs/context/context.hpp"
#include "core/codecs/context/flags.hpp"
#include "core/codecs/context/neighbours.hpp"
#include "core/codecs/context/recipe.hpp"
#include "core/codecs/context/signs.hpp"
#include "core/codecs/context/similarity.hpp"
#include "core/codecs/context/window.hpp"

namespace ternzip::context {

// kLanes rows and columns before are searched for similarity; kMagnitude: the highest effort.
template <class Coder, Shape kShape, std::size_t kLanes, bool kMagnitude>
class Model {
  static constexpr bool kEncodes = std::is_same_v<Coder, BinaryRansEncoder>;
  using FlagModel = Flags<kShape, kMagnitude>;
  using SignModel = Signs<kShape, kMagnitude>;
  using SignRow = typename SignModel::Row;
  using Alike = Similarity<kLanes>;

 public:
  using Trit = std::conditional_t<kEncodes, const std::int8_t, std::int8_t>;

  // The decoder's `trits` are all zero to begin with.
  Model(Coder& coder, const Geometry& geometry, const Counts& counts, const Priors& priors, bool similarity,
        Trit* trits)
      : coder_(&coder),
        geometry_(geometry),
        row_(trits),
        bases_(counts),
        neighbours_(geometry),
        flags_(geometry, neighbours_, priors, bases_.flag, bases_.density()),
        signs_(geometry, neighbours_, priors, bases_.sign, bases_.density() / 8),
        found_(geometry.cols * geometry.kernel + 1) {
    if (similarity) similarity_.emplace(geometry, priors.similar, bases_.density() / 8);
  }
  Model(const Model&) = delete;
  Model& operator=(const Model&) = delete;

  bool more() const noexcept { return row_number_ < geometry_.rows; }

  // Codes a row, or a row of each of two models side by side: their chains of dependent instructions overlap
  // in the processor.
  void code_row() {
    if (kMagnitude && !bases_.flags_given && !bases_.signs_given) {
      similarity_ ? code_weights<true>() : code_weights<false>();
    } else {
      bases_.flags_given ? find_all() : code_flags();
      if (bases_.signs_given) {
        give_signs();
      } else {
        similarity_ ? code_signs<true>() : code_signs<false>();
      }
    }
    end_row();
  }
  static void code_rows(Model& a, Model& b) {
    if (a.bases_.flags_given || a.bases_.signs_given || b.bases_.flags_given || b.bases_.signs_given ||
        a.similarity_.has_value() != b.similarity_.has_value()) {
      a.code_row();
      b.code_row();
      return;
    }
    code_flags(a, b);
    a.similarity_ ? code_signs<true>(a, b) : code_signs<false>(a, b);
    a.end_row();
    b.end_row();
  }

 private:
  // A pass over the flags of a row. The coder is here, and not in the model, to be kept in registers.
  struct FlagPass {
    Model& m;
    Coder coder;
    typename FlagModel::Row row;
    std::size_t column = 0;

    TERNZIP_INLINE explicit FlagPass(Model& model)
        : m(model), coder(std::move(*model.coder_)), row(model.flags_, model.found_.data()) {}
    TERNZIP_INLINE bool more() const { return column < m.geometry_.cols; }
    TERNZIP_INLINE std::size_t begin() {
      row.begin_group(column);
      return m.group_size(column);
    }
    TERNZIP_INLINE void code(std::size_t k) {
      row.template code<false>(coder, k, kEncodes && m.weight(column, k) != 0);
    }
    TERNZIP_INLINE void end(std::size_t size) {
      row.end_group(size);
      column += kShape == Shape::kLine ? size : 1;
    }
    TERNZIP_INLINE void land() {
      m.found_end_ = row.end();
      *m.coder_ = std::move(coder);
    }
    TERNZIP_INLINE void rest() {
      while (more()) {
        const std::size_t size = begin();
        for (std::size_t k = 0; k < size; ++k) code(k);
        end(size);
      }
      land();
    }
  };

  // One over its signs.
  template <bool kSimilar>
  struct SignPass {
    Model& m;
    Coder coder;
    SignRow row;

    TERNZIP_INLINE explicit SignPass(Model& model)
        : m(model), coder(std::move(*model.coder_)), row(model.signs_) {}
    TERNZIP_INLINE void code(Position at) { m.code_sign(row, coder, m.template look<kSimilar>(row, at)); }
    TERNZIP_INLINE void rest(const Position* from) {
      for (; from != m.found_end_; ++from) code(*from);
      *m.coder_ = std::move(coder);
    }
  };

  TERNZIP_INLINE void code_flags() { FlagPass(*this).rest(); }
  static void code_flags(Model& first, Model& second) {
    FlagPass a(first), b(second);
    while (a.more() && b.more()) {
      const std::size_t size_a = a.begin(), size_b = b.begin(), both = std::min(size_a, size_b);
      for (std::size_t k = 0; k < both; ++k) {
        a.code(k);
        b.code(k);
      }
      for (std::size_t k = both; k < size_a; ++k) a.code(k);
      for (std::size_t k = both; k < size_b; ++k) b.code(k);
      a.end(size_a);
      b.end(size_b);
    }
    a.rest();
    b.rest();
  }

  template <bool kSimilar>
  void code_signs() {
    SignPass<kSimilar>(*this).rest(found_.data());
  }
  template <bool kSimilar>
  static void code_signs(Model& first, Model& second) {
    SignPass<kSimilar> a(first), b(second);
    const Position *i = first.found_.data(), *j = second.found_.data();
    for (; i != first.found_end_ && j != second.found_end_; ++i, ++j) {
      a.code(*i);
      b.code(*j);
    }
    a.rest(i);
    b.rest(j);
  }

  // Flags and signs in turn.
  template <bool kSimilar>
  void code_weights() {
    FlagPass flags(*this);
    SignRow signs(signs_);
    while (flags.more()) {
      const std::size_t size = flags.begin();
      for (std::size_t k = 0; k < size; ++k) {
        const auto sign = look<kSimilar>(signs, flags.row.position(k));
        const std::size_t magnitude = FlagModel::magnitude(sign.prediction());
        if (flags.row.template code<true>(flags.coder, k, kEncodes && *sign.trit != 0, magnitude)) {
          code_sign(signs, flags.coder, sign);
        }
      }
      flags.end(size);
    }
    flags.land();
  }

  // A sign that is to be coded, and what is known of it.
  template <bool kSimilar>
  struct Sign {
    Trit* trit;
    std::size_t column;
    typename SignModel::Look look;
    typename Alike::Look alike{};  // with kSimilar
    std::int32_t prediction() const noexcept { return look.prediction + alike.prediction; }
  };
  template <bool kSimilar>
  TERNZIP_INLINE Sign<kSimilar> look(SignRow& row, Position at) {
    Sign<kSimilar> sign{&weight(at), at.column(), row.look(at)};
    if constexpr (kSimilar) sign.alike = similarity_->look(at.column(), place_in_kernel<kShape>(at));
    return sign;
  }
  template <bool kSimilar>
  TERNZIP_INLINE void code_sign(SignRow& row, Coder& coder, const Sign<kSimilar>& sign) {
    const std::int32_t g = row.code(coder, sign.look, sign.prediction(), kEncodes && *sign.trit < 0);
    if constexpr (!kEncodes) *sign.trit = g > 0 ? -1 : 1;
    if constexpr (kSimilar) similarity_->learn(sign.column, sign.alike, g);
    if (!signs_.due()) [[likely]]
      return;
    signs_.learn();
    if constexpr (kSimilar) similarity_->learn_gains();
  }

  // What the counts already say needs no bits.
  void find_all() {
    found_end_ = found_.data();
    for (std::size_t column = 0; column < geometry_.cols; ++column) {
      for (std::size_t k = 0; k < geometry_.kernel; ++k) {
        *found_end_++ = Position(column, kShape == Shape::kTree ? (std::uint64_t{2} << k) - 1 : k);
      }
    }
  }
  void give_signs() {
    if constexpr (!kEncodes) {
      for (const Position* at = found_.data(); at != found_end_; ++at) {
        weight(*at) = bases_.given_trit;
      }
    }
  }

  void end_row() {
    if constexpr (kShape == Shape::kLine) {
      neighbours_.nonzero.end_row(row_, [](std::int8_t trit) { return trit != 0; });
      neighbours_.negative.end_row(row_, [](std::int8_t trit) { return trit < 0; });
    }
    if (similarity_ && !bases_.signs_given) similarity_->end_row(row_number_, row_);
    row_ += geometry_.cols * geometry_.kernel;
    ++row_number_;
  }

  std::size_t group_size(std::size_t column) const noexcept {
    return kShape == Shape::kLine ? std::min(kLineGroup, geometry_.cols - column) : geometry_.kernel;
  }
  Trit& weight(std::size_t column, std::size_t k) const noexcept {
    return row_[column * geometry_.kernel + k];
  }
  Trit& weight(Position at) const noexcept { return weight(at.column(), place_in_kernel<kShape>(at)); }

  Coder* coder_;
  Geometry geometry_;
  Trit* row_;
  std::size_t row_number_ = 0;
  Bases bases_;
  Neighbours neighbours_;
  FlagModel flags_;
  SignModel signs_;
  std::optional<Alike> similarity_;
  std::vector<Position> found_;  // the row's nonzeros
  Position* found_end_ = nullptr;
};

}  // namespace ternzip::context
