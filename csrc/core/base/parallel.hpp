// Splits a range over the threads of the pool.
#pragma once

#include <algorithm>
#include <cstddef>

#include "core/base/thread_pool.hpp"

namespace ternzip {

// Calls body(begin, end, part) for consecutive parts of [0, count), each but the last a multiple of
// `grain` long, on at most `threads` threads, and returns when all are done. Parts are numbered in order from
// 0; there are at most max(threads, 1). Throws what `body` throws, and nothing else.
template <class Body>
void parallel_for(std::size_t count, std::size_t grain, unsigned threads, const Body& body) {
  const std::size_t grains = count / grain + (count % grain != 0 ? 1 : 0);
  const std::size_t parts = std::max<std::size_t>(1, std::min<std::size_t>(threads, grains));
  const auto run = [&](std::size_t part) {
    // grains * part / parts without overflow: quotient and remainder apart.
    const auto bound = [&](std::size_t p) {
      return std::min(count, (grains / parts * p + grains % parts * p / parts) * grain);
    };
    body(bound(part), bound(part + 1), part);
  };
  if (parts == 1) return run(0);
  run_parts([](const void* work, std::size_t part) { (*static_cast<const decltype(run)*>(work))(part); },
            &run, parts);
}

// As many of `threads` as there is work for, of which each should have `each` to be worth its start; 1 at
// least.
inline unsigned worthwhile_threads(double work, std::size_t each, unsigned threads) noexcept {
  const double worth = work / static_cast<double>(each);
  return std::max(1u, worth >= threads ? threads : static_cast<unsigned>(worth));
}

}  // namespace ternzip
