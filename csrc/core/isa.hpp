// The instruction set the kernels run on: the best one this processor has, or a lower one on request.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "core/scan_kernels.hpp"
#include "core/weight_kernels.hpp"

namespace ternzip {

// Names, lowest first: "baseline" (SSE2 on x86-64, NEON on aarch64), "avx2", "avx512". Only those that this
// binary holds and this processor has.
std::vector<std::string> available_isas();

std::string_view active_isa() noexcept;

// Switches every kernel for the whole process; false, and no change, if the name is not available. For
// tests and benchmarks. The environment variable TERNZIP_ISA does the same at start, and is ignored
// where it names what is not available.
bool set_isa(std::string_view name) noexcept;

const ScanKernels& scan_kernels() noexcept;
const WeightKernels& weight_kernels() noexcept;

}  // namespace ternzip
