#include "core/weights/weights.hpp"

#include <algorithm>
#include <array>
#include <mutex>

#include "core/base/parallel.hpp"
#include "core/weights/kernels.hpp"
#include "core/weights/ternarizer.hpp"

namespace ternzip {
namespace {

// Blocks that a thread must get to be worth its start.
constexpr std::size_t kBlocksPerThread = 32;

template <class UInt>
const WeightKernelsOf<UInt>& kernels_of() noexcept {
  const WeightKernels& kernels = weight_kernels();
  if constexpr (sizeof(UInt) == 2) {
    return kernels.w16;
  } else if constexpr (sizeof(UInt) == 4) {
    return kernels.w32;
  } else {
    return kernels.w64;
  }
}

// Calls body with a value of the unsigned type as wide as the weight dtype.
template <class Body>
void with_width(DType dtype, const Body& body) {
  switch (dtype) {
    case DType::kFloat64: body(std::uint64_t{}); break;
    case DType::kFloat32: body(std::uint32_t{}); break;
    case DType::kFloat16:
    case DType::kBFloat16: body(std::uint16_t{}); break;
    default: break;
  }
}

std::size_t blocks_of(std::size_t n) noexcept { return n / kWeightBlock + (n % kWeightBlock != 0 ? 1 : 0); }

// Deals the blocks of all jobs out to the threads: body(job, first element, last element, first block of
// the job) on ranges that start at a multiple of kWeightBlock.
template <class Job, class Body>
void for_each_range(const std::vector<Job>& jobs, unsigned threads, const Body& body) {
  std::vector<std::size_t> starts(jobs.size() + 1, 0);
  for (std::size_t j = 0; j < jobs.size(); ++j) starts[j + 1] = starts[j] + blocks_of(jobs[j].n);
  parallel_for(starts.back(), kBlocksPerThread, threads,
               [&](std::size_t begin, std::size_t end, std::size_t) {
                 const auto after = std::upper_bound(starts.begin(), starts.end(), begin);
                 for (auto j = static_cast<std::size_t>(after - starts.begin()) - 1;
                      j < jobs.size() && starts[j] < end; ++j) {
                   const std::size_t first = std::max(begin, starts[j]) - starts[j];
                   const std::size_t last = std::min(end, starts[j + 1]) - starts[j];
                   if (first < last) body(j, first * kWeightBlock, std::min(jobs[j].n, last * kWeightBlock));
                 }
               });
}

template <class T>
T* offset(T* base, std::size_t elements, std::size_t width) noexcept {
  if constexpr (std::is_const_v<T>) {
    return static_cast<const unsigned char*>(base) + elements * width;
  } else {
    return static_cast<unsigned char*>(base) + elements * width;
  }
}

// Several threads may hold a share of one tensor.
void add_counts(std::mutex& mutex, std::int64_t* counts, std::size_t n, std::uint64_t negative,
                std::uint64_t positive, std::uint64_t invalid) noexcept {
  const std::array<std::uint64_t, 4> found = {negative, n - negative - positive - invalid, positive, invalid};
  const std::lock_guard lock(mutex);
  for (std::size_t i = 0; i < found.size(); ++i) counts[i] += static_cast<std::int64_t>(found[i]);
}

// Runs kernel(start, size) over a range in blocks.
template <class Kernel>
void for_each_block(std::size_t first, std::size_t last, const Kernel& kernel) {
  for (std::size_t i = first; i < last; i += kWeightBlock) kernel(i, std::min(kWeightBlock, last - i));
}

template <class UInt>
void ternarize_range(const WeightJob& job, std::size_t first, std::size_t last, bool clip, double bound,
                     std::mutex& mutex, std::int64_t* counts) {
  const WeightKernelsOf<UInt>& kernels = kernels_of<UInt>();
  const auto t = make_ternarizer<UInt>(job.quantizer, job.dtype);
  const auto limit = static_cast<UInt>(rounded_bits(bound, job.dtype));
  std::uint64_t negative = 0, positive = 0, invalid = 0;
  for_each_block(first, last, [&](std::size_t start, std::size_t size) {
    void* w = offset(job.w, start, sizeof(UInt));
    if (clip) kernels.clip(w, size, limit, t.mask, t.largest);
    WeightCounts found{};
    if (job.out == nullptr) {
      found = kernels.count(w, size, t);
    } else if (job.trits) {
      found = kernels.ternarize_trits(w, size, t, static_cast<std::int8_t*>(job.out) + start);
    } else {
      found = kernels.ternarize(w, size, t, offset(job.out, start, sizeof(UInt)));
    }
    negative += found.negative;
    positive += found.positive;
    invalid += found.invalid;
  });
  add_counts(mutex, counts, last - first, negative, positive, invalid);
}

template <class UInt>
void backward_range(const GradientJob& job, std::size_t first, std::size_t last, Ste ste, double bound,
                    LevelSums* sums) {
  const auto t = make_ternarizer<UInt>(job.quantizer, job.dtype);
  using Key = KeyOf<UInt>;
  auto limit = static_cast<Key>(t.largest);
  if (ste == Ste::kClosed || ste == Ste::kOpen) {
    limit = static_cast<Key>(static_cast<Key>(rounded_bits(bound, job.dtype)) - (ste == Ste::kOpen ? 1 : 0));
  }
  const WeightKernels& kernels = weight_kernels();
  if (sums != nullptr) {
    // Before the gradient is written: out may be grad.
    for_each_block(first, last, [&](std::size_t i, std::size_t size) {
      sums[i / kWeightBlock] = kernels.level_sums[static_cast<std::size_t>(job.dtype)](
          offset(job.grad, i, sizeof(UInt)), offset(job.w, i, sizeof(UInt)), size, &t);
    });
  }
  for_each_block(first, last, [&](std::size_t start, std::size_t size) {
    void* out = offset(job.out, start, sizeof(UInt));
    const void* grad = offset(job.grad, start, sizeof(UInt));
    const void* w = offset(job.w, start, sizeof(UInt));
    if (ste != Ste::kScaled) {
      kernels_of<UInt>().backward(grad, w, size, t.mask, limit, out);
    } else if constexpr (sizeof(UInt) == 4) {
      kernels.backward_scaled32(grad, w, size, t, out);
    } else if constexpr (sizeof(UInt) == 8) {
      kernels.backward_scaled64(grad, w, size, t, out);
    }
  });
}

}  // namespace

bool is_weight_dtype(DType dtype) noexcept {
  return dtype == DType::kFloat64 || dtype == DType::kFloat32 || dtype == DType::kFloat16 ||
         dtype == DType::kBFloat16;
}

bool is_countable_dtype(DType dtype) noexcept {
  return is_weight_dtype(dtype) || dtype == DType::kInt8 || dtype == DType::kInt16 ||
         dtype == DType::kInt32 || dtype == DType::kInt64;
}

bool has_backward(DType dtype, Ste ste) noexcept {
  if (ste == Ste::kScaled) return dtype == DType::kFloat64 || dtype == DType::kFloat32;
  return is_weight_dtype(dtype);
}

void ternarize_many(const std::vector<WeightJob>& jobs, bool clip, double bound, unsigned threads,
                    std::int64_t* counts) {
  std::fill_n(counts, 4 * jobs.size(), std::int64_t{0});
  std::mutex mutex;
  for_each_range(jobs, threads, [&](std::size_t j, std::size_t first, std::size_t last) {
    with_width(jobs[j].dtype, [&]<class UInt>(UInt) {
      ternarize_range<UInt>(jobs[j], first, last, clip, bound, mutex, counts + 4 * j);
    });
  });
}

void clip_many(const std::vector<WeightJob>& jobs, double bound, unsigned threads) {
  for_each_range(jobs, threads, [&](std::size_t j, std::size_t first, std::size_t last) {
    const Format format = format_of(jobs[j].dtype);
    with_width(jobs[j].dtype, [&]<class UInt>(UInt) {
      const auto limit = static_cast<UInt>(rounded_bits(bound, jobs[j].dtype));
      for (std::size_t i = first; i < last; i += kWeightBlock) {
        kernels_of<UInt>().clip(offset(jobs[j].w, i, sizeof(UInt)), std::min(kWeightBlock, last - i), limit,
                                static_cast<UInt>(format.magnitude), static_cast<UInt>(format.largest));
      }
    });
  });
}

void count_many(const std::vector<WeightJob>& jobs, unsigned threads, std::int64_t* counts) {
  std::fill_n(counts, 4 * jobs.size(), std::int64_t{0});
  std::mutex mutex;
  for_each_range(jobs, threads, [&](std::size_t j, std::size_t first, std::size_t last) {
    std::uint64_t negative = 0, positive = 0, invalid = 0;
    const auto run = [&](std::size_t width, const auto& kernel) {
      for (std::size_t i = first; i < last; i += kWeightBlock) {
        const WeightCounts found =
            kernel(offset(static_cast<const void*>(jobs[j].w), i, width), std::min(kWeightBlock, last - i));
        negative += found.negative;
        positive += found.positive;
        invalid += found.invalid;
      }
    };
    const auto by_width = [&]<class UInt>(UInt) {
      const auto t = make_sign_counter<UInt>(jobs[j].dtype);
      run(sizeof(UInt),
          [&](const void* w, std::size_t size) { return kernels_of<UInt>().count(w, size, t); });
    };
    switch (format_of(jobs[j].dtype).width) {
      case 1: {
        const auto t = make_sign_counter<std::uint8_t>(jobs[j].dtype);
        run(1, [&](const void* w, std::size_t size) { return weight_kernels().count8(w, size, t); });
        break;
      }
      case 2: by_width(std::uint16_t{}); break;
      case 4: by_width(std::uint32_t{}); break;
      default: by_width(std::uint64_t{}); break;
    }
    add_counts(mutex, counts + 4 * j, last - first, negative, positive, invalid);
  });
}

void backward_many(const std::vector<GradientJob>& jobs, Ste ste, double bound, unsigned threads,
                   double* level_grads) {
  // One pair of sums a block, added up in order afterwards: the same bits for any number of threads.
  std::vector<std::vector<LevelSums>> sums(jobs.size());
  if (level_grads != nullptr) {
    for (std::size_t j = 0; j < jobs.size(); ++j) sums[j].resize(blocks_of(jobs[j].n));
  }
  for_each_range(jobs, threads, [&](std::size_t j, std::size_t first, std::size_t last) {
    with_width(jobs[j].dtype, [&]<class UInt>(UInt) {
      backward_range<UInt>(jobs[j], first, last, ste, bound,
                           level_grads != nullptr ? sums[j].data() : nullptr);
    });
  });
  for (std::size_t j = 0; level_grads != nullptr && j < jobs.size(); ++j) {
    double negative = 0, positive = 0;
    for (const LevelSums& block : sums[j]) {
      negative += block.negative;
      positive += block.positive;
    }
    level_grads[2 * j] = negative;
    level_grads[2 * j + 1] = positive;
  }
}

}  // namespace ternzip
