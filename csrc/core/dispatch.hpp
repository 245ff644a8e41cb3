// The tables of kernels for the active instruction set.
#pragma once

#include "core/scan_kernels.hpp"
#include "core/weight_kernels.hpp"

namespace ternzip {

const ScanKernels& scan_kernels() noexcept;
const WeightKernels& weight_kernels() noexcept;

}  // namespace ternzip
