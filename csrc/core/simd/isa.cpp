#include "core/simd/isa.hpp"

#include <array>
#include <atomic>
#include <cstdlib>

#include "core/base/compiler.hpp"

#if defined(TERNZIP_X86) && defined(_MSC_VER)
#include <immintrin.h>
#include <intrin.h>
#endif

namespace ternzip {
namespace {

#if defined(TERNZIP_X86)
#if defined(_MSC_VER)  // clang-cl too: it does not link what __builtin_cpu_supports reads
#if defined(__clang__)
__attribute__((target("xsave")))  // for _xgetbv; called only where the processor has it
#endif
// Leaf 7's EBX, or ECX, where the operating system saves the wide registers, else 0.
unsigned leaf7(unsigned long long xcr0_mask, int number = 1) noexcept {
  int info[4];
  __cpuid(info, 0);
  if (info[0] < 7) return 0;
  __cpuid(info, 1);
  const bool osxsave = (static_cast<unsigned>(info[2]) >> 27 & 1u) != 0;
  if (!osxsave || (_xgetbv(0) & xcr0_mask) != xcr0_mask) return 0;
  __cpuidex(info, 7, 0);
  return static_cast<unsigned>(info[number]);
}
bool has_avx2() noexcept {
  constexpr unsigned kNeeded = 1u << 3 | 1u << 5 | 1u << 8;  // BMI1, AVX2, BMI2
  return (leaf7(0x6) & kNeeded) == kNeeded;
}
bool has_avx512() noexcept {
  constexpr unsigned kNeeded = 1u << 16 | 1u << 17 | 1u << 30 | 1u << 31;  // F, DQ, BW, VL
  return (leaf7(0xe6) & kNeeded) == kNeeded;
}
bool has_vpopcntdq() noexcept { return (leaf7(0xe6, 2) >> 14 & 1u) != 0; }
#else
bool has_avx2() noexcept {
  return __builtin_cpu_supports("avx2") != 0 && __builtin_cpu_supports("bmi") != 0 &&
         __builtin_cpu_supports("bmi2") != 0 && __builtin_cpu_supports("popcnt") != 0;
}
bool has_avx512() noexcept {
  return __builtin_cpu_supports("avx512f") != 0 && __builtin_cpu_supports("avx512dq") != 0 &&
         __builtin_cpu_supports("avx512bw") != 0 && __builtin_cpu_supports("avx512vl") != 0;
}
bool has_vpopcntdq() noexcept { return __builtin_cpu_supports("avx512vpopcntdq") != 0; }
#endif
#endif

bool supported(Isa isa) noexcept {
#if defined(TERNZIP_X86)
  switch (isa) {
    case Isa::baseline: return true;
    case Isa::neon: return false;
    case Isa::avx2: return has_avx2();
    case Isa::avx512: return has_avx2() && has_avx512();
  }
#elif defined(TERNZIP_NEON)
  if (isa == Isa::neon) return true;
#endif
  return isa == Isa::baseline;
}

constexpr std::array kLevels = {Isa::baseline, Isa::neon, Isa::avx2, Isa::avx512};

Isa choose() noexcept {
  const char* wanted = std::getenv("TERNZIP_ISA");  // NOLINT(concurrency-mt-unsafe): read once, at start
  Isa best = Isa::baseline;
  for (const Isa isa : kLevels) {
    if (!supported(isa)) continue;
    best = isa;
    if (wanted != nullptr && isa_name(isa) == wanted) return isa;
  }
  return best;
}

std::atomic<Isa>& active() noexcept {
  static std::atomic<Isa> isa{choose()};
  return isa;
}

}  // namespace

std::string_view isa_name(Isa isa) noexcept {
  switch (isa) {
    case Isa::baseline: return "baseline";
    case Isa::neon: return "neon";
    case Isa::avx2: return "avx2";
    case Isa::avx512: return "avx512";
  }
  return "";
}

std::vector<std::string> available_isas() {
  std::vector<std::string> names;
  for (const Isa isa : kLevels) {
    if (supported(isa)) names.emplace_back(isa_name(isa));
  }
  return names;
}

Isa active_isa() noexcept { return active().load(std::memory_order_relaxed); }

bool has_vector_popcount() noexcept {
#if defined(TERNZIP_X86)
  static const bool found = has_avx2() && has_avx512() && has_vpopcntdq();
  return found;
#else
  return false;
#endif
}

bool set_isa(std::string_view name) noexcept {
  for (const Isa isa : kLevels) {
    if (isa_name(isa) == name && supported(isa)) {
      active().store(isa);
      return true;
    }
  }
  return false;
}

}  // namespace ternzip
