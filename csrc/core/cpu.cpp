#include "core/cpu.hpp"

#include <cstdlib>

#if defined(_MSC_VER) && defined(_M_X64)
#include <intrin.h>
#endif

namespace ternzip {
namespace {

#if defined(_MSC_VER) && defined(_M_X64)

Isa detect() noexcept {
  int regs[4];
  __cpuid(regs, 0);
  if (regs[0] < 7) return Isa::baseline;
  __cpuidex(regs, 1, 0);
  const bool os_saves_avx = (regs[2] & (1 << 27)) != 0 && (_xgetbv(0) & 0x06) == 0x06;
  const bool popcnt = (regs[2] & (1 << 23)) != 0;
  if (!os_saves_avx || !popcnt) return Isa::baseline;
  const bool os_saves_avx512 = (_xgetbv(0) & 0xE6) == 0xE6;
  __cpuidex(regs, 7, 0);
  const auto bit = [&](int index) { return (regs[1] >> index & 1) != 0; };
  const bool avx2 = bit(5) && bit(3) && bit(8);  // with BMI1 and BMI2
  const bool avx512 = os_saves_avx512 && bit(16) && bit(17) && bit(30) && bit(31);
  return avx2 && avx512 ? Isa::avx512 : avx2 ? Isa::avx2 : Isa::baseline;
}

#elif defined(__x86_64__)

Isa detect() noexcept {
  __builtin_cpu_init();
  const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("bmi") &&
                    __builtin_cpu_supports("bmi2") && __builtin_cpu_supports("popcnt");
  const bool avx512 = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
                      __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl");
  return avx2 && avx512 ? Isa::avx512 : avx2 ? Isa::avx2 : Isa::baseline;
}

#else

Isa detect() noexcept { return Isa::baseline; }

#endif

Isa choose() noexcept {
  const Isa best = detect();
  const char* value = std::getenv("TERNZIP_ISA");
  if (value == nullptr) return best;
  for (const Isa isa : {Isa::baseline, Isa::avx2, Isa::avx512}) {
    if (isa_name(isa) == value && isa < best) return isa;
  }
  return best;
}

}  // namespace

Isa active_isa() noexcept {
  static const Isa isa = choose();
  return isa;
}

std::string_view isa_name(Isa isa) noexcept {
  switch (isa) {
    case Isa::baseline: return "baseline";
    case Isa::avx2: return "avx2";
    case Isa::avx512: return "avx512";
  }
  return "";
}

}  // namespace ternzip
