// The instruction set that kernels run on: the best one this processor has, or a lower one on request.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace ternzip {

// In ascending order: every machine that runs one level runs those levels before it that its binary holds.
// `baseline` is plain C++ for what the compiler targets by default (SSE2 on x86-64, NEON on AArch64). `neon`
// has kernels written for NEON in the place of some.
enum class Isa { baseline, neon, avx2, avx512 };

// "baseline", "neon", "avx2" or "avx512".
std::string_view isa_name(Isa isa) noexcept;

// Names, lowest first, of the levels that this binary holds and this processor has.
std::vector<std::string> available_isas();

Isa active_isa() noexcept;

// Whether this processor counts the ones of 32-bit lanes beside `avx512` (VPOPCNTDQ).
bool has_vector_popcount() noexcept;

// Switches every kernel for the whole process; false, and no change, if the name is not available. For
// tests and benchmarks. The environment variable TERNZIP_ISA does the same at start, and is ignored
// where it names what is not available.
bool set_isa(std::string_view name) noexcept;

}  // namespace ternzip
