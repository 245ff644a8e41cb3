// Splits a range over std::threads. No pool: a pool does not survive fork, and the work here is either
// long beside a thread's start or done by the caller alone.
#pragma once

#include <algorithm>
#include <cstddef>
#include <thread>
#include <vector>

namespace ternzip {

// Calls body(begin, end, part) for consecutive parts of [0, count), each but the last a multiple of
// `grain` long, on at most `threads` threads, and returns when all are done. Parts are numbered in order from
// 0; there are at most max(threads, 1). Throws nothing; `body` must not throw.
template <class Body>
void parallel_for(std::size_t count, std::size_t grain, unsigned threads, const Body& body) noexcept {
  const std::size_t grains = count / grain + (count % grain != 0 ? 1 : 0);
  const std::size_t parts = std::max<std::size_t>(1, std::min<std::size_t>(threads, grains));
  const auto run = [&](std::size_t part) {
    // grains * part / parts without overflow: quotient and remainder apart.
    const auto bound = [&](std::size_t p) {
      return std::min(count, (grains / parts * p + grains % parts * p / parts) * grain);
    };
    body(bound(part), bound(part + 1), part);
  };
  std::vector<std::thread> workers;
  std::size_t started = 1;
  try {
    workers.reserve(parts - 1);
    for (; started < parts; ++started) workers.emplace_back(run, started);
  } catch (...) {
    // No more threads to be had, or no memory for one: the caller does the rest. Nothing may leave here while
    // a worker runs, since a thread that is not joined ends the process.
  }
  run(0);
  for (std::size_t part = started; part < parts; ++part) run(part);
  for (std::thread& worker : workers) worker.join();
}

}  // namespace ternzip
