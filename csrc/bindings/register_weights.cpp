#include <pybind11/stl.h>

#include <optional>
#include <stdexcept>
#include <vector>

#include "bindings/registry.hpp"
#include "bindings/released_gil.hpp"
#include "bindings/weight_jobs.hpp"

namespace ternzip::bindings {
namespace py = pybind11;
namespace {

// (lo, hi, negative, positive): addresses of doubles, each one value for all or one for each weight.
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
    throw std::invalid_argument("expected four scalars: lo, hi, negative, positive");
  return {std::move(address), std::move(each)};
}

}  // namespace

void register_weights(py::module_& module) {
  module.def(
      "ternarize_many",
      [](const Addresses& flat, Addresses scalars, std::vector<bool> each, std::optional<double> bound,
         std::uintptr_t counts, unsigned threads) {
        const Scalars values = make_scalars(std::move(scalars), std::move(each));
        std::vector<WeightJob> jobs = weight_jobs(flat);
        for (std::size_t j = 0; j < jobs.size(); ++j) jobs[j].quantizer = values.at(j);
        const ReleasedGil released;
        ternarize_many(jobs, bound.has_value(), bound.value_or(0.0), threads, pointer<std::int64_t>(counts));
      },
      py::arg("jobs"), py::arg("scalars"), py::arg("each"), py::arg("bound"), py::arg("counts"),
      py::arg("threads"));
  module.def(
      "clip_many",
      [](const Addresses& flat, double bound, unsigned threads) {
        const std::vector<WeightJob> jobs = plain_jobs(flat, is_weight_dtype);
        const ReleasedGil released;
        clip_many(jobs, bound, threads);
      },
      py::arg("jobs"), py::arg("bound"), py::arg("threads"));
  module.def(
      "count_many",
      [](const Addresses& flat, std::uintptr_t counts, unsigned threads) {
        const std::vector<WeightJob> jobs = plain_jobs(flat, is_countable_dtype);
        const ReleasedGil released;
        count_many(jobs, threads, pointer<std::int64_t>(counts));
      },
      py::arg("jobs"), py::arg("counts"), py::arg("threads"));
  module.def(
      "backward_many",
      [](const Addresses& flat, Addresses scalars, std::vector<bool> each, int ste, double bound,
         std::uintptr_t level_grads, unsigned threads) {
        const Scalars values = make_scalars(std::move(scalars), std::move(each));
        const Ste estimator = estimator_of(ste);
        std::vector<GradientJob> jobs = gradient_jobs(flat, estimator);
        for (std::size_t j = 0; j < jobs.size(); ++j) jobs[j].quantizer = values.at(j);
        const ReleasedGil released;
        backward_many(jobs, estimator, bound, threads, pointer<double>(level_grads));
      },
      py::arg("jobs"), py::arg("scalars"), py::arg("each"), py::arg("ste"), py::arg("bound"),
      py::arg("level_grads"), py::arg("threads"));
}

}  // namespace ternzip::bindings
