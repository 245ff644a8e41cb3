// Loops over threads: every index comes once, in parts that begin at multiples of the grain; also where loops
// are nested, come from several threads, and throw.
#include <atomic>
#include <stdexcept>

#include "core/base/parallel.hpp"
#include "fuzz/input.hpp"

namespace ternzip::fuzz {
namespace {

struct Loop {
  std::size_t count, grain;
  unsigned threads;
  std::size_t inner;   // length of a loop within each part
  std::size_t thrown;  // index whose part throws; beyond `count`: none does

  explicit Loop(Input& input)
      : count(input.below(3000)),
        grain(1 + input.below(70)),
        threads(input.byte() % 6),
        inner(input.byte() % 4 == 1 ? input.below(50) : 0),
        thrown(input.byte() % 4 == 1 ? input.below(3000) : 3000) {}
};

void check(const Loop& loop) {
  std::vector<std::atomic<unsigned>> visits(loop.count);
  std::vector<std::atomic<unsigned>> parts(loop.threads == 0 ? 1 : loop.threads);
  bool caught = false;
  try {
    parallel_for(
        loop.count, loop.grain, loop.threads, [&](std::size_t begin, std::size_t end, std::size_t part) {
          require(begin <= end && end <= loop.count && (begin % loop.grain == 0 || begin == end),
                  "parts are whole grains");
          require(part < parts.size(), "parts are numbered from 0");
          ++parts[part];
          std::atomic<std::size_t> done{0};
          parallel_for(loop.inner, 1, loop.threads,
                       [&](std::size_t first, std::size_t last, std::size_t) { done += last - first; });
          require(done == loop.inner, "nested loops are complete");
          for (std::size_t i = begin; i < end; ++i) ++visits[i];
          if (begin <= loop.thrown && loop.thrown < end) throw std::range_error("thrown");
        });
  } catch (const std::range_error&) {
    caught = true;
  }
  require(caught == (loop.thrown < loop.count), "what is thrown is caught");
  for (const auto& visit : visits) require(visit == 1 || (caught && visit == 0), "every index comes once");
  for (const auto& part : parts) require(part <= 1, "no two parts have the same number");
}

}  // namespace
}  // namespace ternzip::fuzz

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  ternzip::fuzz::Input input(data, size);
  const ternzip::fuzz::Loop loop(input);
  const ternzip::fuzz::Loop other(input);
  if (input.byte() % 4 != 1) {
    ternzip::fuzz::check(loop);
  } else {
    ternzip::parallel_for(2, 1, 2, [&](std::size_t begin, std::size_t end, std::size_t) {
      for (std::size_t i = begin; i < end; ++i) ternzip::fuzz::check(i == 0 ? loop : other);
    });
  }
  return 0;
}
