#include <pybind11/stl.h>

#include <memory>
#include <optional>
#include <stdexcept>
#include <string_view>
#include <tuple>
#include <vector>

#include "bindings/registry.hpp"
#include "bindings/released_gil.hpp"
#include "bindings/weight_jobs.hpp"
#include "cuda/fast/plan.hpp"
#include "cuda/target.hpp"
#include "cuda/weights/weights.hpp"

namespace ternzip::bindings {
namespace py = pybind11;
namespace {

// (address or 0, value, each) of lo, hi, negative and positive.
using DeviceScalars = std::vector<std::tuple<std::uintptr_t, double, bool>>;

cuda::Scalars device_scalars(const DeviceScalars& given) {
  if (given.size() != 4) throw std::invalid_argument("expected four scalars: lo, hi, neg, pos");
  cuda::Scalars scalars;
  for (const auto& [address, value, each] : given) {
    scalars.push_back({pointer<const double>(address), value, each});
  }
  return scalars;
}

// One chunk: payload address and size, symbols, first element.
using ChunkRow = std::tuple<std::uintptr_t, std::size_t, std::size_t, std::uint64_t>;

// Row levels of a tensor: addresses on the device, elements of a row.
using RowLevels = std::tuple<std::uintptr_t, std::uintptr_t, std::uint64_t>;

void register_weights_cuda(py::module_& module) {
  module.def(
      "cuda_ternarize_many",
      [](const Addresses& flat, const DeviceScalars& scalars, std::optional<double> bound,
         std::uintptr_t counts, int device, std::uintptr_t stream) {
        const std::vector<WeightJob> jobs = weight_jobs(flat);
        const cuda::Scalars values = device_scalars(scalars);
        const ReleasedGil released;
        cuda::ternarize_many(jobs, values, bound, pointer<std::int64_t>(counts),
                             {device, pointer<void>(stream)});
      },
      py::arg("jobs"), py::arg("scalars"), py::arg("bound"), py::arg("counts"), py::arg("device"),
      py::arg("stream"));
  module.def(
      "cuda_clip_many",
      [](const Addresses& flat, double bound, int device, std::uintptr_t stream) {
        const std::vector<WeightJob> jobs = plain_jobs(flat, is_weight_dtype);
        const ReleasedGil released;
        cuda::clip_many(jobs, bound, {device, pointer<void>(stream)});
      },
      py::arg("jobs"), py::arg("bound"), py::arg("device"), py::arg("stream"));
  module.def(
      "cuda_count_many",
      [](const Addresses& flat, std::uintptr_t counts, int device, std::uintptr_t stream) {
        const std::vector<WeightJob> jobs = plain_jobs(flat, is_countable_dtype);
        const ReleasedGil released;
        cuda::count_many(jobs, pointer<std::int64_t>(counts), {device, pointer<void>(stream)});
      },
      py::arg("jobs"), py::arg("counts"), py::arg("device"), py::arg("stream"));
  module.def(
      "cuda_level_scratch",
      [](const Addresses& flat) { return cuda::level_scratch(gradient_jobs(flat, Ste::kIdentity)); },
      py::arg("jobs"));
  module.def(
      "cuda_backward_many",
      [](const Addresses& flat, const DeviceScalars& scalars, int ste, double bound,
         std::uintptr_t level_grads, std::uintptr_t scratch, int device, std::uintptr_t stream) {
        const Ste estimator = estimator_of(ste);
        const std::vector<GradientJob> jobs = gradient_jobs(flat, estimator);
        const cuda::Scalars values = device_scalars(scalars);
        const ReleasedGil released;
        cuda::backward_many(jobs, values, estimator, bound, pointer<double>(level_grads),
                            pointer<double>(scratch), {device, pointer<void>(stream)});
      },
      py::arg("jobs"), py::arg("scalars"), py::arg("ste"), py::arg("bound"), py::arg("level_grads"),
      py::arg("scratch"), py::arg("device"), py::arg("stream"));
}

constexpr const char* kUploadName = "ternzip.cuda_fast_upload";

const cuda::FastUpload& upload_of(const py::capsule& capsule) {
  if (capsule.name() == nullptr || std::string_view(capsule.name()) != kUploadName) {
    throw std::invalid_argument("expected what cuda_fast_read returned");
  }
  return *capsule.get_pointer<const cuda::FastUpload>();
}

void register_fast_cuda(py::module_& module) {
  module.def(
      "cuda_fast_read",
      [](const std::vector<ChunkRow>& rows, std::uint64_t negative, std::uint64_t zero,
         std::uint64_t positive) -> std::optional<std::tuple<py::capsule, std::size_t, std::size_t>> {
        auto upload = std::make_unique<cuda::FastUpload>();
        std::vector<cuda::FastChunk> chunks;
        chunks.reserve(rows.size());
        for (const auto& [payload, size, n, out] : rows) {
          chunks.push_back({pointer<const std::uint8_t>(payload), size, n, out});
        }
        bool accepted = false;
        {
          const ReleasedGil released;
          accepted = upload->read(std::move(chunks), {negative, zero, positive});
        }
        if (!accepted) return std::nullopt;
        const std::size_t size = upload->size(), scratch = upload->scratch_size();
        const py::capsule capsule(upload.get(), kUploadName,
                                  [](void* held) { delete static_cast<cuda::FastUpload*>(held); });
        (void)upload.release();  // the capsule's from here on
        return std::make_tuple(capsule, size, scratch);
      },
      py::arg("chunks"), py::arg("negative"), py::arg("zero"), py::arg("positive"));
  module.def(
      "cuda_fast_write",
      [](const py::capsule& upload, std::uintptr_t to) {
        const cuda::FastUpload& self = upload_of(upload);
        const ReleasedGil released;
        self.write(pointer<std::uint8_t>(to));
      },
      py::arg("upload"), py::arg("to"));
  module.def(
      "cuda_fast_decode",
      [](const py::capsule& upload, std::uintptr_t sent, std::uintptr_t scratch, std::uintptr_t out,
         unsigned element_size, std::tuple<std::uint64_t, std::uint64_t, std::uint64_t> patterns,
         const std::optional<RowLevels>& rows, std::uintptr_t counts, int device, std::uintptr_t stream) {
        const cuda::FastUpload& self = upload_of(upload);
        if (element_size != 1 && element_size != 2 && element_size != 4 && element_size != 8) {
          throw std::invalid_argument("element_size must be 1, 2, 4 or 8");
        }
        const auto [negative, zero, positive] = patterns;
        cuda::FastElements elements{pointer<void>(out), element_size, negative, zero,
                                    positive,           nullptr,      nullptr,  0};
        if (rows) {
          elements.row_negative = pointer<const std::uint64_t>(std::get<0>(*rows));
          elements.row_positive = pointer<const std::uint64_t>(std::get<1>(*rows));
          elements.cols = std::get<2>(*rows);
        }
        const ReleasedGil released;
        self.decode(pointer<const std::uint8_t>(sent), pointer<std::uint8_t>(scratch), elements,
                    pointer<std::int64_t>(counts), {device, pointer<void>(stream)});
      },
      py::arg("upload"), py::arg("sent"), py::arg("scratch"), py::arg("out"), py::arg("element_size"),
      py::arg("patterns"), py::arg("rows"), py::arg("counts"), py::arg("device"), py::arg("stream"));
}

}  // namespace

void register_cuda(py::module_& module) {
  module.def("cuda_compiled", &cuda::is_compiled);
  module.def("cuda_architectures", &cuda::architectures);
  module.def("cuda_obstacle", &cuda::obstacle, py::arg("device"), py::arg("capability"), py::arg("thorough"));
  register_weights_cuda(module);
  register_fast_cuda(module);
}

}  // namespace ternzip::bindings
