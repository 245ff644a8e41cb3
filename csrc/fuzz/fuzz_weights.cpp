// Weights of any bits: every instruction set and the emulated device give the same
// bits.
#include <cmath>
#include <cstring>
#include <optional>

#include "core/simd/isa.hpp"
#include "core/weights/weights.hpp"
#include "cuda/weights/weights.hpp"
#include "fuzz/input.hpp"

namespace ternzip::fuzz {
namespace {

// A number of any bits, or one of those that matter.
double number(Input& input) {
  constexpr double kChosen[] = {0.0, -0.0, 1.0, -1.0, 0.1, 65504.0, 1e-40, 1e300};
  const unsigned choice = input.byte();
  if (choice < 200) return kChosen[choice % 8];
  std::uint64_t bits = 0;
  for (int i = 0; i < 8; ++i) bits = bits << 8 | input.byte();
  double value = 0;
  std::memcpy(&value, &bits, sizeof value);
  return value;
}

struct Case {
  DType dtype;
  Quantizer quantizer;
  std::optional<double> bound;
  Ste ste;
  bool trits;
  std::vector<std::uint64_t> weights, gradients;  // bits, in words of 64: aligned for every dtype
  std::size_t n;
};

struct Result {
  std::vector<std::uint64_t> weights, ternary, passed;
  std::int64_t counts[4] = {}, signs[4] = {};
  double level_gradients[2] = {};
};

Case case_of(Input& input) {
  Case c{};
  c.dtype = static_cast<DType>(input.byte() % 4);
  c.quantizer = {number(input), number(input), number(input), number(input)};
  if (input.byte() % 2 != 0) {
    const double bound = std::fabs(number(input));
    c.bound = bound > 0 ? bound : 1.0;  // bounds are positive
  }
  c.ste = static_cast<Ste>(input.byte() % 4);
  if (!has_backward(c.dtype, c.ste)) c.ste = Ste::kClosed;
  if (c.ste == Ste::kScaled) {  // of two NaNs the product is either
    if (std::isnan(c.quantizer.negative)) c.quantizer.negative = -1.0;
    if (std::isnan(c.quantizer.positive)) c.quantizer.positive = 1.0;
  }
  c.trits = input.byte() % 4 == 0;
  const std::size_t words = input.left() / 16;
  const auto fill = [&](std::vector<std::uint64_t>& to) {
    for (std::size_t i = 0; i < words; ++i) {
      std::uint64_t bits = 0;
      for (int b = 0; b < 8; ++b) bits = bits << 8 | input.byte();
      to.push_back(bits);
    }
  };
  fill(c.weights);
  fill(c.gradients);
  c.n = c.weights.size() * 8 / format_of(c.dtype).width;
  return c;
}

Result run(const Case& c, std::optional<cuda::Target> target) {
  Result r{c.weights, std::vector<std::uint64_t>(c.weights.size()), c.gradients, {}, {}, {}};
  const WeightJob forward{r.weights.data(), c.n, c.dtype, r.ternary.data(), c.trits, c.quantizer};
  const GradientJob backward{r.passed.data(), c.weights.data(), c.n, c.dtype, r.passed.data(), c.quantizer};
  const double bound = c.bound.value_or(1.0);
  if (target) {
    const Quantizer& q = c.quantizer;
    const cuda::Scalars scalars = {{nullptr, q.lo, false},
                                   {nullptr, q.hi, false},
                                   {nullptr, q.negative, false},
                                   {nullptr, q.positive, false}};
    std::vector<double> scratch(cuda::level_scratch({backward}));
    cuda::ternarize_many({forward}, scalars, c.bound, r.counts, *target);
    cuda::count_many({forward}, r.signs, *target);
    cuda::backward_many({backward}, scalars, c.ste, bound, r.level_gradients, scratch.data(), *target);
  } else {
    ternarize_many({forward}, c.bound.has_value(), bound, 1, r.counts);
    count_many({forward}, 1, r.signs);
    backward_many({backward}, c.ste, bound, 1, r.level_gradients);
  }
  return r;
}

void require_same(const Result& a, const Result& b, const char* what) {
  require(a.weights == b.weights && a.ternary == b.ternary && a.passed == b.passed, what);
  require(std::memcmp(a.counts, b.counts, sizeof a.counts) == 0, what);
  require(std::memcmp(a.signs, b.signs, sizeof a.signs) == 0, what);
  for (int i = 0; i < 2; ++i) {
    const double x = a.level_gradients[i], y = b.level_gradients[i];
    require(x == y || (x != x && y != y), what);  // a NaN's payload is nobody's promise
  }
}

void check(Input& input) {
  const int seed = 1 + input.byte();
  const Case c = case_of(input);
  set_isa("baseline");
  const Result expected = run(c, std::nullopt);
  std::int64_t all = 0;
  for (const std::int64_t count : expected.counts) all += count;
  require(all == static_cast<std::int64_t>(c.n), "every weight is counted once");
  for (const std::string& isa : available_isas()) {
    set_isa(isa);
    require_same(run(c, std::nullopt), expected, "all instruction sets agree");
  }
  if (format_of(c.dtype).width <= 4 && c.ste != Ste::kScaled) {
    require_same(run(c, cuda::Target{-seed, nullptr}), expected, "the emulated device agrees");
  }
}

}  // namespace
}  // namespace ternzip::fuzz

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  ternzip::fuzz::Input input(data, size);
  ternzip::fuzz::check(input);
  return 0;
}
