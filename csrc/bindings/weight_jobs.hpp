// Jobs over weights from the rows of numbers that Python hands over, laid end to end.
#pragma once

#include <pybind11/stl.h>

#include <stdexcept>
#include <string>
#include <vector>

#include "bindings/registry.hpp"
#include "core/weights/weights.hpp"

namespace ternzip::bindings {

using Addresses = std::vector<std::uintptr_t>;

inline DType dtype_at(const Addresses& row, std::size_t i, bool (*accepted)(DType) noexcept) {
  const auto dtype = static_cast<DType>(row[i]);
  if (row[i] > static_cast<std::uintptr_t>(DType::kInt64) || !accepted(dtype)) {
    throw std::invalid_argument("no kernel for the dtype code " + std::to_string(row[i]));
  }
  return dtype;
}

inline std::size_t rows_of(const Addresses& flat, std::size_t width) {
  if (flat.size() % width != 0)
    throw std::invalid_argument("expected rows of " + std::to_string(width) + " numbers");
  return flat.size() / width;
}

// Rows (w, count, dtype).
inline std::vector<WeightJob> plain_jobs(const Addresses& flat, bool (*accepted)(DType) noexcept) {
  std::vector<WeightJob> jobs(rows_of(flat, 3));
  for (std::size_t j = 0; j < jobs.size(); ++j) {
    jobs[j].w = pointer<void>(flat[3 * j]);
    jobs[j].n = flat[3 * j + 1];
    jobs[j].dtype = dtype_at(flat, 3 * j + 2, accepted);
  }
  return jobs;
}

// Rows (w, count, dtype, out, out_is_int8).
inline std::vector<WeightJob> weight_jobs(const Addresses& flat) {
  std::vector<WeightJob> jobs(rows_of(flat, 5));
  for (std::size_t j = 0; j < jobs.size(); ++j) {
    jobs[j] = {
        pointer<void>(flat[5 * j]),     flat[5 * j + 1],      dtype_at(flat, 5 * j + 2, is_weight_dtype),
        pointer<void>(flat[5 * j + 3]), flat[5 * j + 4] != 0, {}};
  }
  return jobs;
}

inline Ste estimator_of(int ste) {
  if (ste < 0 || ste > static_cast<int>(Ste::kScaled)) throw std::invalid_argument("no such estimator");
  return static_cast<Ste>(ste);
}

// Rows (grad, w, count, dtype, out).
inline std::vector<GradientJob> gradient_jobs(const Addresses& flat, Ste ste) {
  std::vector<GradientJob> jobs(rows_of(flat, 5));
  for (std::size_t j = 0; j < jobs.size(); ++j) {
    jobs[j] = {
        pointer<const void>(flat[5 * j]),           pointer<const void>(flat[5 * j + 1]), flat[5 * j + 2],
        dtype_at(flat, 5 * j + 3, is_weight_dtype), pointer<void>(flat[5 * j + 4]),       {}};
    if (!has_backward(jobs[j].dtype, ste)) {
      throw std::invalid_argument("no kernel for this estimator and the dtype code " +
                                  std::to_string(flat[5 * j + 3]));
    }
  }
  return jobs;
}

}  // namespace ternzip::bindings
