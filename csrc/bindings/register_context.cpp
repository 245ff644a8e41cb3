#include <pybind11/stl.h>

#include <memory>
#include <stdexcept>
#include <tuple>
#include <vector>

#include "bindings/registry.hpp"
#include "bindings/released_gil.hpp"
#include "core/codecs/context/context.hpp"

namespace ternzip::bindings {
namespace py = pybind11;
namespace {

context::Effort effort_of(int effort) {
  if (effort < 1 || effort > 3) throw std::invalid_argument("context: effort must be 1, 2 or 3");
  return static_cast<context::Effort>(effort);
}

using Job = std::tuple<std::uintptr_t, std::size_t, std::size_t, std::size_t, std::size_t, std::uint64_t,
                       std::uint64_t, std::uint64_t, std::uintptr_t>;

context::DecodeJob decode_job(const Job& job) {
  const auto& [payload, size, rows, cols, kernel, negative, zero, positive, out] = job;
  return {pointer<const std::uint8_t>(payload),
          size,
          {rows, cols, kernel},
          {negative, zero, positive},
          pointer<std::int8_t>(out)};
}

}  // namespace

void register_context(py::module_& module) {
  module.def(
      "context_encode",
      [](std::uintptr_t trits, std::size_t rows, std::size_t cols, std::size_t kernel, std::uint64_t negative,
         std::uint64_t zero, std::uint64_t positive, int effort) {
        std::vector<std::uint8_t> payload;
        {
          const ReleasedGil released;
          payload = context::encode(pointer<const std::int8_t>(trits), {rows, cols, kernel},
                                    {negative, zero, positive}, effort_of(effort));
        }
        return py::bytes(reinterpret_cast<const char*>(payload.data()), payload.size());
      },
      py::arg("trits"), py::arg("rows"), py::arg("cols"), py::arg("kernel"), py::arg("negative"),
      py::arg("zero"), py::arg("positive"), py::arg("effort"));
  module.def(
      "context_decode",
      [](std::uintptr_t payload, std::size_t payload_size, std::size_t rows, std::size_t cols,
         std::size_t kernel, std::uint64_t negative, std::uint64_t zero, std::uint64_t positive,
         std::uintptr_t out) {
        const context::DecodeJob job =
            decode_job({payload, payload_size, rows, cols, kernel, negative, zero, positive, out});
        const ReleasedGil released;
        return context::decode(job);
      },
      py::arg("payload"), py::arg("payload_size"), py::arg("rows"), py::arg("cols"), py::arg("kernel"),
      py::arg("negative"), py::arg("zero"), py::arg("positive"), py::arg("out"));
  module.def(
      "context_decode_many",
      [](const std::vector<Job>& tuples) {
        std::vector<context::DecodeJob> jobs;
        jobs.reserve(tuples.size());
        for (const Job& job : tuples) jobs.push_back(decode_job(job));
        const auto accepted = std::make_unique<bool[]>(jobs.size());
        {
          const ReleasedGil released;
          context::decode_many(jobs.data(), jobs.size(), accepted.get());
        }
        return std::vector<bool>(accepted.get(), accepted.get() + jobs.size());
      },
      py::arg("jobs"));
}

}  // namespace ternzip::bindings
