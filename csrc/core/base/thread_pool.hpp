// Threads that wait for work from one call to the next.
//
// There are none until the first call that wants some, and as many as calls at one time have wanted, up to
// kMaxPoolThreads. They are never joined: they own nothing, and end with the process. A child after fork()
// has none of its parent's, and starts its own when it first wants some.
#pragma once

#include <cstddef>

namespace ternzip {

inline constexpr std::size_t kMaxPoolThreads = 256;

// One part of a piece of work; may throw.
using RunPart = void (*)(const void* work, std::size_t part);

// Calls run(work, part) once for each part in [0, parts), in the caller and in at most parts - 1 other
// threads, which round and flush as the caller does, and returns when all are done. The caller takes every
// part that no other thread has begun: calls may be nested and come from any number of threads, and where no
// thread can be had, the caller does it all. An exception leaves here once the parts that have begun are
// done; those that have not are left out.
void run_parts(RunPart run, const void* work, std::size_t parts);

// Threads that the pool of this process has.
std::size_t pool_threads() noexcept;

}  // namespace ternzip
