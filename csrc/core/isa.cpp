#include "core/isa.hpp"

#include <array>
#include <atomic>
#include <cstdlib>

#if defined(TERNZIP_X86) && defined(_MSC_VER) && !defined(__clang__)
#include <immintrin.h>
#include <intrin.h>
#endif

namespace ternzip {
namespace {

struct Entry {
  std::string_view name;
  bool (*supported)() noexcept;
  const ScanKernels* scan;
  const WeightKernels* weights;
};

bool always() noexcept { return true; }

#if defined(TERNZIP_X86)
#if defined(_MSC_VER) && !defined(__clang__)
// Leaf 7's EBX where the operating system saves the wide registers, else 0.
unsigned leaf7(unsigned long long xcr0_mask) noexcept {
  int info[4];
  __cpuid(info, 0);
  if (info[0] < 7) return 0;
  __cpuid(info, 1);
  const bool osxsave = (static_cast<unsigned>(info[2]) >> 27 & 1u) != 0;
  if (!osxsave || (_xgetbv(0) & xcr0_mask) != xcr0_mask) return 0;
  __cpuidex(info, 7, 0);
  return static_cast<unsigned>(info[1]);
}
bool has_avx2() noexcept { return (leaf7(0x6) >> 5 & 1u) != 0; }
bool has_avx512() noexcept {
  constexpr unsigned kNeeded = 1u << 16 | 1u << 17 | 1u << 30 | 1u << 31;  // F, DQ, BW, VL
  return (leaf7(0xe6) & kNeeded) == kNeeded;
}
#else
bool has_avx2() noexcept { return __builtin_cpu_supports("avx2") != 0; }
bool has_avx512() noexcept {
  return __builtin_cpu_supports("avx512f") != 0 && __builtin_cpu_supports("avx512dq") != 0 &&
         __builtin_cpu_supports("avx512bw") != 0 && __builtin_cpu_supports("avx512vl") != 0;
}
#endif
#endif

constexpr std::array kEntries = {
    Entry{"baseline", always, &kScanBaseline, &kWeightsBaseline},
#if defined(TERNZIP_X86)
    Entry{"avx2", has_avx2, &kScanAvx2, &kWeightsAvx2},
    Entry{"avx512", has_avx512, &kScanAvx512, &kWeightsAvx512},
#endif
};

const Entry* find(std::string_view name) noexcept {
  for (const Entry& entry : kEntries) {
    if (entry.name == name && entry.supported()) return &entry;
  }
  return nullptr;
}

const Entry* choose() noexcept {
  if (const char* wanted =
          std::getenv("TERNZIP_ISA")) {  // NOLINT(concurrency-mt-unsafe): read once, at start
    if (const Entry* entry = find(wanted)) return entry;
  }
  const Entry* best = &kEntries.front();
  for (const Entry& entry : kEntries) {
    if (entry.supported()) best = &entry;
  }
  return best;
}

std::atomic<const Entry*>& active() noexcept {
  static std::atomic<const Entry*> entry{choose()};
  return entry;
}

}  // namespace

std::vector<std::string> available_isas() {
  std::vector<std::string> names;
  for (const Entry& entry : kEntries) {
    if (entry.supported()) names.emplace_back(entry.name);
  }
  return names;
}

std::string_view active_isa() noexcept { return active().load()->name; }

bool set_isa(std::string_view name) noexcept {
  const Entry* entry = find(name);
  if (entry != nullptr) active().store(entry);
  return entry != nullptr;
}

const ScanKernels& scan_kernels() noexcept { return *active().load()->scan; }

const WeightKernels& weight_kernels() noexcept {
#if defined(TERNZIP_X86)
  // The backward pass does nothing but move memory, and 32-byte vectors do that some 5 % faster than 64-byte
  // ones.
  static const WeightKernels avx512 = [] {
    WeightKernels kernels = kWeightsAvx512;
    kernels.w16.backward = kWeightsAvx2.w16.backward;
    kernels.w32.backward = kWeightsAvx2.w32.backward;
    kernels.w64.backward = kWeightsAvx2.w64.backward;
    return kernels;
  }();
  const WeightKernels* chosen = active().load()->weights;
  return chosen == &kWeightsAvx512 ? avx512 : *chosen;
#else
  return *active().load()->weights;
#endif
}

}  // namespace ternzip
