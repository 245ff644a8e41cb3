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
#include "core/codecs/context/base_rates.hpp"
#include "core/codecs/context/binary_rans.hpp"
#include "core/codecs/context/context.hpp"
#include "core/codecs/context/flags.hpp"
#include "core/codecs/context/neighbours.hpp"
#include "core/codecs/context/recipe.hpp"
#include "core/codecs/context/signs.hpp"
#include "core/codecs/context/similarity.hpp"
#include "core/codecs/context/window.hpp"
#include "core/simd/isa.hpp"

namespace ternzip::context {

// kLanes rows and columns before are searched for similarity; kMagnitude: the highest effort.
template <class Coder, Shape kShape, std::size_t kLanes, bool kMagnitude>
class Model {
  static constexpr bool kEncodes = Coder::kEncodes;
  using FlagModel = Flags<kShape, kMagnitude>;
  using SignModel = Signs<kShape, kMagnitude>;
  using SignRow = typename SignModel::Row;
  using SimilarityModel = Similarity<kLanes>;

 public:
  using Trit = std::conditional_t<kEncodes, const std::int8_t, std::int8_t>;

  // The decoder's `trits` are all zero to begin with.
  // Rows begin `stride` weights after one another.
  Model(Coder& coder, const Geometry& geometry, const TritCounts& counts, const Priors& priors,
        bool similarity, Trit* trits, std::size_t stride)
      : coder_(&coder),
        geometry_(geometry),
        row_(trits),
        stride_(stride),
        base_rates_(counts),
        neighbours_(geometry),
        flags_(geometry, neighbours_, priors, base_rates_.flag, base_rates_.density()),
        signs_(geometry, neighbours_, priors, base_rates_.sign, base_rates_.density() / 8),
        nonzeros_(geometry.cols * geometry.kernel + 1) {
    if (similarity) {
      similarity_.emplace(geometry, neighbours_.kernel, priors.similar, base_rates_.density(), priors.smooth);
    }
  }
  Model(const Model&) = delete;
  Model& operator=(const Model&) = delete;

  bool more() const noexcept { return row_number_ < geometry_.rows; }

  // Codes a row, or a row of each of two models side by side: their chains of dependent instructions overlap
  // in the processor.
  void code_row() {
    if (kMagnitude && !base_rates_.flags_given && !base_rates_.signs_given) {
      switch (compared()) {
        case Compared::kNothing: weights_pass<Compared::kNothing>(*this); break;
        case Compared::kWeights: run<weights_pass<Compared::kWeights>>(*this); break;
        case Compared::kSmoothed: run<weights_pass<Compared::kSmoothed>>(*this); break;
      }
    } else {
      base_rates_.flags_given ? list_all() : code_flags();
      base_rates_.signs_given ? give_signs() : code_signs();
    }
    end_row();
  }
  static void code_rows(Model& a, Model& b) {
    if (a.base_rates_.flags_given || a.base_rates_.signs_given || b.base_rates_.flags_given ||
        b.base_rates_.signs_given || a.similarity_.has_value() != b.similarity_.has_value()) {
      a.code_row();
      b.code_row();
      return;
    }
    code_flags(a, b);
    code_signs(a, b);
    a.end_row();
    b.end_row();
  }

 private:
  // A pass over the flags of a row. The coder is here, and not in the model, to be kept in registers.
  struct FlagPass {
    Model& model;
    Coder coder;
    typename FlagModel::Row row;
    std::size_t column = 0;

    TERNZIP_INLINE explicit FlagPass(Model& owner)
        : model(owner), coder(std::move(*owner.coder_)), row(owner.flags_, owner.nonzeros_.data()) {}
    TERNZIP_INLINE bool more() const { return column < model.geometry_.cols; }
    TERNZIP_INLINE std::size_t begin() {
      row.begin_group(column);
      return model.group_size(column);
    }
    TERNZIP_INLINE void code(std::size_t k) {
      row.template code<false>(coder, k, kEncodes && model.weight(column, k) != 0);
    }
    TERNZIP_INLINE void end(std::size_t size) {
      row.end_group(size);
      column += kShape == Shape::kLine ? size : 1;
    }
    TERNZIP_INLINE void finish() {
      model.nonzeros_end_ = row.nonzeros_end();
      *model.coder_ = std::move(coder);
    }
    TERNZIP_INLINE void code_rest() {
      while (more()) {
        const std::size_t size = begin();
        for (std::size_t k = 0; k < size; ++k) code(k);
        end(size);
      }
      finish();
    }
  };

  // A sign that is to be coded, and what is known before it is.
  template <Compared kCompared>
  struct Sign {
    Trit* trit;
    std::size_t column, place;
    typename SignModel::Context context;
    typename SimilarityModel::Context similar{};  // where something is compared
    std::int32_t prediction() const noexcept { return context.prediction + similar.prediction; }
  };

  // One over its signs.
  template <Compared kCompared>
  struct SignPass {
    Model& model;
    Coder coder;
    SignRow row;

    TERNZIP_INLINE explicit SignPass(Model& owner)
        : model(owner), coder(std::move(*owner.coder_)), row(owner.signs_) {
      if constexpr (kEncodes) coder.signs(true);
    }
    TERNZIP_INLINE Sign<kCompared> predict(Position at) { return model.template sign_at<kCompared>(row, at); }
    TERNZIP_INLINE std::int32_t code(const Sign<kCompared>& sign) {
      return model.code_sign(row, coder, sign);
    }
    TERNZIP_INLINE void learn(const Sign<kCompared>& sign, std::int32_t gradient) {
      model.learn_sign(sign, gradient);
    }
    TERNZIP_INLINE void code_rest(const Position* from) {
      for (; from != model.nonzeros_end_; ++from) {
        const auto sign = predict(*from);
        learn(sign, code(sign));
      }
      if constexpr (kEncodes) coder.signs(false);
      *model.coder_ = std::move(coder);
    }
  };

  TERNZIP_INLINE void code_flags() { FlagPass(*this).code_rest(); }
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
    a.code_rest();
    b.code_rest();
  }

  template <Compared kCompared>
  TERNZIP_INLINE static void sign_pass(Model& model) {
    SignPass<kCompared>(model).code_rest(model.nonzeros_.data());
  }
  template <Compared kFirst, Compared kSecond>
  TERNZIP_INLINE static void sign_passes(Model& first, Model& second) {
    SignPass<kFirst> a(first);
    SignPass<kSecond> b(second);
    const Position *i = first.nonzeros_.data(), *j = second.nonzeros_.data();
    for (; i != first.nonzeros_end_ && j != second.nonzeros_end_; ++i, ++j) {
      // Step by step, not sign by sign: a sign has so many instructions that wait for each other that a
      // processor which has taken them in has no room for those of the next one.
      const auto sign_a = a.predict(*i);
      const auto sign_b = b.predict(*j);
      const std::int32_t gradient_a = a.code(sign_a), gradient_b = b.code(sign_b);
      a.learn(sign_a, gradient_a);
      b.learn(sign_b, gradient_b);
    }
    a.code_rest(i);
    b.code_rest(j);
  }

  void code_signs() {
    switch (compared()) {
      case Compared::kNothing: return sign_pass<Compared::kNothing>(*this);
      case Compared::kWeights: return run<sign_pass<Compared::kWeights>>(*this);
      case Compared::kSmoothed: return run<sign_pass<Compared::kSmoothed>>(*this);
    }
  }
  // Both compare something or neither does.
  static void code_signs(Model& a, Model& b) {
    constexpr Compared kWeights = Compared::kWeights, kSmoothed = Compared::kSmoothed;
    if (a.compared() == Compared::kNothing) {
      sign_passes<Compared::kNothing, Compared::kNothing>(a, b);
    } else if (a.compared() != b.compared()) {
      const bool swap = a.compared() == kSmoothed;
      run<sign_passes<kWeights, kSmoothed>>(swap ? b : a, swap ? a : b);
    } else if (a.compared() == kWeights) {
      run<sign_passes<kWeights, kWeights>>(a, b);
    } else {
      run<sign_passes<kSmoothed, kSmoothed>>(a, b);
    }
  }

  // Flags and signs in turn.
  template <Compared kCompared>
  TERNZIP_INLINE static void weights_pass(Model& model) {
    FlagPass flags(model);
    SignRow signs(model.signs_);
    while (flags.more()) {
      const std::size_t size = flags.begin();
      for (std::size_t k = 0; k < size; ++k) {
        const auto sign = model.template sign_at<kCompared>(signs, flags.row.position(k));
        const std::size_t magnitude = FlagModel::magnitude(sign.prediction());
        if (flags.row.template code<true>(flags.coder, k, kEncodes && *sign.trit != 0, magnitude)) {
          model.learn_sign(sign, model.code_sign(signs, flags.coder, sign));
        }
      }
      flags.end(size);
    }
    flags.finish();
  }

  template <Compared kCompared>
  TERNZIP_INLINE Sign<kCompared> sign_at(SignRow& row, Position at) {
    Sign<kCompared> sign{&weight(at), at.column(), place_in_kernel<kShape>(at), row.context(at)};
    if constexpr (kCompared != Compared::kNothing) {
      sign.similar = similarity_->template context<kCompared>(sign.column, sign.place);
    }
    return sign;
  }
  // Returns the gradient.
  template <Compared kCompared>
  TERNZIP_INLINE std::int32_t code_sign(SignRow& row, Coder& coder, const Sign<kCompared>& sign) {
    const std::int32_t g = row.code(coder, sign.context, sign.prediction(), kEncodes && *sign.trit < 0);
    if constexpr (!kEncodes) *sign.trit = g > 0 ? -1 : 1;
    return g;
  }
  template <Compared kCompared>
  TERNZIP_INLINE void learn_sign(const Sign<kCompared>& sign, std::int32_t gradient) {
    if constexpr (kCompared != Compared::kNothing) {
      similarity_->template learn<kCompared>(sign.column, sign.place, sign.similar, gradient);
    }
    if (!signs_.due()) [[likely]]
      return;
    signs_.learn();
    if constexpr (kCompared != Compared::kNothing) similarity_->learn_gains();
  }

  // Runs a pass of signs; in decoders compiled for AVX2 where the processor has it, for the sums over lanes.
  // Encoders gain less by that than its size is worth.
  template <auto kPass, class... Models>
  static void run(Models&... models) {
#if defined(TERNZIP_FOR_AVX2)
    if constexpr (!kEncodes) {
      if (active_isa() >= Isa::avx2) return run_for_avx2<kPass>(models...);
    }
#endif
    kPass(models...);
  }
#if defined(TERNZIP_FOR_AVX2)
  template <auto kPass, class... Models>
  TERNZIP_FOR_AVX2 static void run_for_avx2(Models&... models) {
    kPass(models...);
  }
#endif

  // Where the counts say that no weight is zero: lists all weights as nonzeros.
  void list_all() {
    nonzeros_end_ = nonzeros_.data();
    for (std::size_t column = 0; column < geometry_.cols; ++column) {
      for (std::size_t k = 0; k < geometry_.kernel; ++k) {
        *nonzeros_end_++ = Position(column, kShape == Shape::kTree ? (std::uint64_t{2} << k) - 1 : k);
      }
    }
  }
  // Where the counts say that all nonzeros are alike: needs no bits.
  void give_signs() {
    if constexpr (!kEncodes) {
      for (const Position* at = nonzeros_.data(); at != nonzeros_end_; ++at) {
        weight(*at) = base_rates_.given_trit;
      }
    }
  }

  void end_row() {
    if constexpr (kShape == Shape::kLine) {
      neighbours_.nonzero.end_row(row_, [](std::int8_t trit) { return trit != 0; });
      neighbours_.negative.end_row(row_, [](std::int8_t trit) { return trit < 0; });
    }
    if (similarity_ && !base_rates_.signs_given) similarity_->end_row(row_number_, row_);
    row_ += stride_;
    ++row_number_;
  }

  Compared compared() const noexcept { return similarity_ ? similarity_->compared() : Compared::kNothing; }
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
  std::size_t stride_;
  std::size_t row_number_ = 0;
  BaseRates base_rates_;
  Neighbours neighbours_;
  FlagModel flags_;
  SignModel signs_;
  std::optional<SimilarityModel> similarity_;
  std::vector<Position> nonzeros_;  // of the row, up to nonzeros_end_
  Position* nonzeros_end_ = nullptr;
};

}  // namespace ternzip::context
