#include "core/base/thread_pool.hpp"

#include <atomic>
#include <cfenv>
#include <condition_variable>
#include <exception>
#include <mutex>
#include <new>
#include <thread>
#include <utility>

#if defined(__unix__) || defined(__APPLE__)
#include <pthread.h>
#define TERNZIP_HAS_FORK
#endif

namespace ternzip {
namespace {

// A call's work, on its caller's stack. All but the first three are guarded by the pool's mutex.
struct Job {
  RunPart run;
  const void* work;
  std::size_t parts;
  std::size_t next = 0;     // the first part that nobody has begun
  std::size_t running = 0;  // parts begun by threads of the pool that are not done
  std::exception_ptr error{};
  std::condition_variable done{};
  Job* later = nullptr;  // in the queue
  std::fenv_t floats{};  // how the caller computes: with or without denormal numbers, say
};

class Pool {
 public:
  void run(Job& job) {
    std::unique_lock lock(mutex_);
    push(job);
    start_threads();
    for (std::size_t helpers = 1; helpers < job.parts; ++helpers) work_.notify_one();
    while (job.next != job.parts) run_one(job, lock);
    // Whoever finishes the last part says so before it lets go of the mutex: then the job may go.
    job.done.wait(lock, [&] { return job.running == 0; });
  }

  std::size_t threads() noexcept {
    const std::lock_guard lock(mutex_);
    return threads_;
  }

 private:
  void push(Job& job) noexcept {
    (last_ != nullptr ? last_->later : first_) = &job;
    last_ = &job;
    wanted_ += job.parts - 1;
  }

  void remove(const Job& job) noexcept {
    Job* before = nullptr;
    for (Job* at = first_; at != &job; at = at->later) before = at;
    (before != nullptr ? before->later : first_) = job.later;
    if (last_ == &job) last_ = before;
  }

  // One thread for every part in the queue but those of the callers.
  void start_threads() noexcept {
    while (free_ < wanted_ && threads_ < kMaxPoolThreads) {
      try {
        std::thread([this] { serve(); }).detach();
      } catch (...) {
        return;  // no more threads to be had, or no memory for one
      }
      ++threads_;
      ++free_;
    }
  }

  // Takes a part of a job in the queue; without the lock while it runs.
  void run_one(Job& job, std::unique_lock<std::mutex>& lock) noexcept {
    const std::size_t part = job.next++;
    if (part != 0) --wanted_;
    if (job.next == job.parts) remove(job);
    lock.unlock();
    std::exception_ptr error;
    try {
      job.run(job.work, part);
    } catch (...) {
      error = std::current_exception();
    }
    lock.lock();
    if (error == nullptr) return;
    if (job.error == nullptr) job.error = std::move(error);
    if (job.next == job.parts) return;
    wanted_ -= job.parts - job.next;
    job.next = job.parts;
    remove(job);
  }

  [[noreturn]] void serve() {
    std::unique_lock lock(mutex_);
    for (;;) {
      work_.wait(lock, [this] { return first_ != nullptr; });
      Job& job = *first_;
      --free_;
      ++job.running;
      std::fesetenv(&job.floats);
      run_one(job, lock);
      ++free_;
      if (--job.running == 0) job.done.notify_one();
    }
  }

  std::mutex mutex_;
  std::condition_variable work_;
  Job* first_ = nullptr;  // jobs with parts that nobody has begun, oldest first
  Job* last_ = nullptr;
  std::size_t wanted_ = 0;   // parts in the queue, less one for each job's caller
  std::size_t threads_ = 0;  // of the pool,
  std::size_t free_ = 0;     // and those among them that run nothing
};

// The pool of this process, null until it is wanted. It is never deleted, since its threads never end.
constinit std::atomic<Pool*> the_pool{nullptr};

#if defined(TERNZIP_HAS_FORK)
// In the child the threads are gone, and whoever held the mutex will not give it back.
void forget_pool() noexcept { the_pool.store(nullptr); }

void forget_pool_in_children() noexcept {
  static constinit std::atomic<bool> registered{false};
  if (!registered.exchange(true)) pthread_atfork(nullptr, nullptr, forget_pool);
}
#else
void forget_pool_in_children() noexcept {}
#endif

// Null where there is no memory for it.
Pool* pool_of_process() noexcept {
  Pool* pool = the_pool.load();
  if (pool != nullptr) return pool;
  auto* made = new (std::nothrow) Pool;
  if (made == nullptr) return nullptr;
  if (!the_pool.compare_exchange_strong(pool, made)) {
    delete made;
    return pool;
  }
  forget_pool_in_children();
  return made;
}

}  // namespace

void run_parts(RunPart run, const void* work, std::size_t parts) {
  Pool* const pool = parts > 1 ? pool_of_process() : nullptr;
  if (pool == nullptr) {
    for (std::size_t part = 0; part < parts; ++part) run(work, part);
    return;
  }
  Job job{.run = run, .work = work, .parts = parts};
  std::fegetenv(&job.floats);
  pool->run(job);
  if (job.error != nullptr) std::rethrow_exception(job.error);
}

std::size_t pool_threads() noexcept {
  Pool* const pool = the_pool.load();
  return pool != nullptr ? pool->threads() : 0;
}

}  // namespace ternzip
