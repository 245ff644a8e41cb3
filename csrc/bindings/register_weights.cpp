#include <pybind11/stl.h>

#include <optional>
#include <stdexcept>
#include <string>
#include <vector>

#include "bindings/registry.hpp"
#include "core/weights.hpp"

namespace ternzip::bindings {
namespace py = pybind11;
namespace {

using Addresses = std::vector<std::uintptr_t>;

// (lo, hi, neg, pos): addresses of doubles, each one value for all or one for each weight.
struct Scalars {
  std::vector<std::uintptr_t> address;
  std::vector<bool> each;

  Quantizer at(std::size_t index) const {
    const auto value = [&](std::size_t which) {
      return pointer<const double>(address[which])[each[which] ? index : 0];
    };
    return {value(0), value(1), value(2), value(3)};
  }
};

Scalars make_scalars(Addresses address, std::vector<bool> each) {
  if (address.size() != 4 || each.size() != 4)
    throw std::invalid_argument("expected four scalars: lo, hi, neg, pos");
  return {std::move(address), std::move(each)};
}

DType dtype_at(const Addresses& row, std::size_t i, bool (*accepted)(DType) noexcept) {
  const auto dtype = static_cast<DType>(row[i]);
  if (row[i] > static_cast<std::uintptr_t>(DType::kInt64) || !accepted(dtype)) {
    throw std::invalid_argument("no kernel for the dtype code " + std::to_string(row[i]));
  }
  return dtype;
}

// Rows of `width` numbers laid end to end.
std::size_t rows_of(const Addresses& flat, std::size_t width) {
  if (flat.size() % width != 0)
    throw std::invalid_argument("expected rows of " + std::to_string(width) + " numbers");
  return flat.size() / width;
}

std::vector<WeightJob> plain_jobs(const Addresses& flat, bool (*accepted)(DType) noexcept) {
  std::vector<WeightJob> jobs(rows_of(flat, 3));
  for (std::size_t j = 0; j < jobs.size(); ++j) {
    jobs[j].w = pointer<void>(flat[3 * j]);
    jobs[j].n = flat[3 * j + 1];
    jobs[j].dtype = dtype_at(flat, 3 * j + 2, accepted);
  }
  return jobs;
}

}  // namespace

void register_weights(py::module_& module) {
  module.def(
      "ternarize_many",
      [](const Addresses& flat, Addresses scalars, std::vector<bool> each, std::optional<double> bound,
         std::uintptr_t counts, unsigned threads) {
        const Scalars values = make_scalars(std::move(scalars), std::move(each));
        std::vector<WeightJob> jobs(rows_of(flat, 5));
        for (std::size_t j = 0; j < jobs.size(); ++j) {
          jobs[j] = {pointer<void>(flat[5 * j]),
                     flat[5 * j + 1],
                     dtype_at(flat, 5 * j + 2, is_weight_dtype),
                     pointer<void>(flat[5 * j + 3]),
                     flat[5 * j + 4] != 0,
                     values.at(j)};
        }
        py::gil_scoped_release release;
        ternarize_many(jobs, bound.has_value(), bound.value_or(0.0), threads, pointer<std::int64_t>(counts));
      },
      py::arg("jobs"), py::arg("scalars"), py::arg("each"), py::arg("bound"), py::arg("counts"),
      py::arg("threads"));
  module.def(
      "clip_many",
      [](const Addresses& flat, double bound, unsigned threads) {
        const std::vector<WeightJob> jobs = plain_jobs(flat, is_weight_dtype);
        py::gil_scoped_release release;
        clip_many(jobs, bound, threads);
      },
      py::arg("jobs"), py::arg("bound"), py::arg("threads"));
  module.def(
      "count_many",
      [](const Addresses& flat, std::uintptr_t counts, unsigned threads) {
        const std::vector<WeightJob> jobs = plain_jobs(flat, is_countable_dtype);
        py::gil_scoped_release release;
        count_many(jobs, threads, pointer<std::int64_t>(counts));
      },
      py::arg("jobs"), py::arg("counts"), py::arg("threads"));
  module.def(
      "backward_many",
      [](const Addresses& flat, Addresses scalars, std::vector<bool> each, int ste, double bound,
         std::uintptr_t level_grads, unsigned threads) {
        const Scalars values = make_scalars(std::move(scalars), std::move(each));
        if (ste < 0 || ste > static_cast<int>(Ste::kScaled)) throw std::invalid_argument("no such estimator");
        const auto estimator = static_cast<Ste>(ste);
        std::vector<GradientJob> jobs(rows_of(flat, 5));
        for (std::size_t j = 0; j < jobs.size(); ++j) {
          jobs[j] = {pointer<const void>(flat[5 * j]),
                     pointer<const void>(flat[5 * j + 1]),
                     flat[5 * j + 2],
                     dtype_at(flat, 5 * j + 3, is_weight_dtype),
                     pointer<void>(flat[5 * j + 4]),
                     values.at(j)};
          if (!has_backward(jobs[j].dtype, estimator)) {
            throw std::invalid_argument("no kernel for this estimator and the dtype code " +
                                        std::to_string(flat[5 * j + 3]));
          }
        }
        py::gil_scoped_release release;
        backward_many(jobs, estimator, bound, threads, pointer<double>(level_grads));
      },
      py::arg("jobs"), py::arg("scalars"), py::arg("each"), py::arg("ste"), py::arg("bound"),
      py::arg("level_grads"), py::arg("threads"));
}

}  // namespace ternzip::bindings
