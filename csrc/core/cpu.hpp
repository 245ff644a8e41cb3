// Which instruction set the dispatched kernels use on this machine.
#pragma once

#include <string_view>

namespace ternzip {

// In ascending order: every machine that runs one level runs the levels before it. `baseline` is what the
// compiler targets by default (SSE2 on x86-64, NEON on AArch64).
enum class Isa { baseline, avx2, avx512 };

// The level in use: what processor and operating system support, lowered by TERNZIP_ISA=baseline|avx2|avx512
// in the environment. Read once; an unknown value is ignored.
Isa active_isa() noexcept;

// "baseline", "avx2" or "avx512", as TERNZIP_ISA spells them.
std::string_view isa_name(Isa isa) noexcept;

}  // namespace ternzip
