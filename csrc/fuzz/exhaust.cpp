// Runs a fuzz target on every file in folders while memory runs out: `exhaust_TARGET FOLDER...`
//
// Each input is run again and again, the n-th allocation failing, until none is left to fail; once with that
// one alone failing and once with all that follow. A target must end by its result or by std::bad_alloc, and
// what it requires of its results must hold. A destructor or a noexcept function that allocates ends the
// process.
#include <atomic>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <limits>
#include <new>

#include "fuzz/input.hpp"

namespace {

constexpr long kNever = std::numeric_limits<long>::max();
std::atomic<long> left_until_failure{kNever};
std::atomic<bool> keeps_failing{false};

bool fails() noexcept {
  if (left_until_failure.load() == kNever) return false;
  const long left = left_until_failure.fetch_sub(1);
  return left == 0 || (left < 0 && keeps_failing);
}

void* allocate(std::size_t size, std::size_t alignment) noexcept {
  if (fails()) return nullptr;
  if (alignment <= alignof(std::max_align_t)) return std::malloc(size == 0 ? 1 : size);
  return std::aligned_alloc(alignment, (size + alignment - 1) / alignment * alignment);
}
void* allocate_or_throw(std::size_t size, std::size_t alignment = 1) {
  void* const memory = allocate(size, alignment);
  if (memory == nullptr) throw std::bad_alloc();
  return memory;
}

}  // namespace

void* operator new(std::size_t size) { return allocate_or_throw(size); }
void* operator new[](std::size_t size) { return allocate_or_throw(size); }
void* operator new(std::size_t size, std::align_val_t alignment) {
  return allocate_or_throw(size, static_cast<std::size_t>(alignment));
}
void* operator new[](std::size_t size, std::align_val_t alignment) {
  return allocate_or_throw(size, static_cast<std::size_t>(alignment));
}
void* operator new(std::size_t size, const std::nothrow_t&) noexcept { return allocate(size, 1); }
void* operator new[](std::size_t size, const std::nothrow_t&) noexcept { return allocate(size, 1); }
void operator delete(void* memory) noexcept { std::free(memory); }
void operator delete[](void* memory) noexcept { std::free(memory); }
void operator delete(void* memory, std::size_t) noexcept { std::free(memory); }
void operator delete[](void* memory, std::size_t) noexcept { std::free(memory); }
void operator delete(void* memory, std::align_val_t) noexcept { std::free(memory); }
void operator delete[](void* memory, std::align_val_t) noexcept { std::free(memory); }
void operator delete(void* memory, std::size_t, std::align_val_t) noexcept { std::free(memory); }
void operator delete[](void* memory, std::size_t, std::align_val_t) noexcept { std::free(memory); }

namespace {

// Whether there was an n-th allocation to fail, counted from 0.
bool run_failing(const std::vector<char>& bytes, long n, bool others_too) {
  keeps_failing = others_too;
  left_until_failure = n;
  try {
    LLVMFuzzerTestOneInput(reinterpret_cast<const std::uint8_t*>(bytes.data()), bytes.size());
  } catch (const std::bad_alloc&) {
    // The caller's to handle: nothing was lost.
  }
  const bool failed = left_until_failure < 0;
  left_until_failure = kNever;
  return failed;
}

}  // namespace

int main(int argc, char** argv) {
  std::size_t files = 0, failures = 0;
  for (int i = 1; i < argc; ++i) {
    for (const auto& entry : std::filesystem::directory_iterator(argv[i])) {
      std::ifstream stream(entry.path(), std::ios::binary);
      const std::vector<char> bytes{std::istreambuf_iterator<char>(stream), {}};
      std::fprintf(stderr, "%s\n", entry.path().c_str());
      for (const bool others_too : {false, true}) {
        for (long n = 0; run_failing(bytes, n, others_too); ++n) ++failures;
      }
      ++files;
    }
  }
  std::printf("%s: %zu inputs, %zu failed allocations\n", argv[0], files, failures);
  return failures == 0 ? 1 : 0;
}
