// Loops over threads: every index comes once, in parts that begin at multiples of the grain.
#include <atomic>

#include "core/base/parallel.hpp"
#include "fuzz/input.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using ternzip::fuzz::require;
  ternzip::fuzz::Input input(data, size);
  const std::size_t count = input.below(3000), grain = 1 + input.below(70);
  const unsigned threads = input.byte() % 6;
  std::vector<std::atomic<unsigned>> visits(count);
  std::vector<std::atomic<unsigned>> parts(threads == 0 ? 1 : threads);
  ternzip::parallel_for(count, grain, threads, [&](std::size_t begin, std::size_t end, std::size_t part) {
    require(begin <= end && end <= count && (begin % grain == 0 || begin == end), "parts are whole grains");
    require(part < parts.size(), "parts are numbered from 0");
    ++parts[part];
    for (std::size_t i = begin; i < end; ++i) ++visits[i];
  });
  for (const auto& visit : visits) require(visit == 1, "every index comes once");
  for (const auto& part : parts) require(part <= 1, "no two parts have the same number");
  return 0;
}
