// The threads of a CUDA block, real ones or emulated ones.
//
// Kernels are written once, as functions of such a block. nvcc compiles them for DeviceBlock, where
// `each_thread` is the thread itself; any C++ compiler compiles them for HostBlock, where it is a loop. So
// the tests and the sanitizers run every line of a kernel on machines without a GPU, except the few of
// DeviceBlock. Between two calls of `sync` no warp may need what another one writes; HostBlock runs the
// warps in several orders to show that.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <utility>

#if defined(__CUDACC__)
#define TERNZIP_KERNEL __device__ inline
#define TERNZIP_UNROLL_ALL _Pragma("unroll")
#define TERNZIP_UNROLL_4 _Pragma("unroll 4")
#define TERNZIP_UNROLL_NONE _Pragma("unroll 1")
#else
#define TERNZIP_KERNEL inline
#define TERNZIP_UNROLL_ALL
#define TERNZIP_UNROLL_4
#define TERNZIP_UNROLL_NONE
#endif

namespace ternzip::cuda {

inline constexpr unsigned kThreads = 256;
inline constexpr unsigned kLanes = 32;
inline constexpr unsigned kWarps = kThreads / kLanes;

// What one thread reads or writes at once.
inline constexpr unsigned kVectorBytes = 16;

template <class UInt>
struct alignas(kVectorBytes) Vector {
  static constexpr unsigned kSize = kVectorBytes / sizeof(UInt);
  UInt lane[kSize];
};

#if defined(__CUDACC__)

template <class T>
TERNZIP_KERNEL T load_aligned(const void* from) {
  return *static_cast<const T*>(from);
}
template <class T>
TERNZIP_KERNEL void store_aligned(void* to, const T& value) {
  *static_cast<T*>(to) = value;
}

TERNZIP_KERNEL unsigned count_ones(std::uint32_t bits) { return static_cast<unsigned>(__popc(bits)); }
TERNZIP_KERNEL unsigned lowest_one(std::uint64_t bits) {
  return static_cast<unsigned>(__ffsll(static_cast<long long>(bits))) - 1;
}

// A variable that every thread (lane) has one of.
template <class T>
class PerThread {
 public:
  __device__ T& operator[](unsigned) { return value_; }

 private:
  T value_{};
};
template <class T>
using PerLane = PerThread<T>;

struct DeviceWarp {
  static constexpr unsigned kAll = 0xFFFFFFFFu;

  unsigned index;  // in its block

  template <class Body>
  __device__ void each_lane(const Body& body) const {
    body(threadIdx.x % kLanes);
  }
  template <class Body>
  __device__ void leader(const Body& body) const {
    if (threadIdx.x % kLanes == 0) body();
  }
  __device__ void sync() const { __syncwarp(); }
  // One bit a lane.
  __device__ std::uint32_t ballot(PerLane<bool>& condition) const {
    return __ballot_sync(kAll, condition[0] ? 1 : 0);
  }
  __device__ std::uint32_t sum(PerLane<std::uint32_t>& values) const {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 800
    return __reduce_add_sync(kAll, values[0]);
#else
    std::uint32_t value = values[0];
    TERNZIP_UNROLL_ALL
    for (unsigned step = kLanes / 2; step != 0; step /= 2) value += __shfl_xor_sync(kAll, value, step);
    return value;
#endif
  }
  // Each lane's sum of the lanes before it.
  __device__ void exclusive_sum(PerLane<std::uint32_t>& values) const {
    const unsigned lane = threadIdx.x % kLanes;
    std::uint32_t inclusive = values[0];
    TERNZIP_UNROLL_ALL
    for (unsigned step = 1; step < kLanes; step *= 2) {
      const std::uint32_t before = __shfl_up_sync(kAll, inclusive, step);
      if (lane >= step) inclusive += before;
    }
    values[0] = inclusive - values[0];
  }
};

struct DeviceBlock {
  using Warp = DeviceWarp;

  __device__ std::uint32_t index() const { return blockIdx.x; }
  __device__ std::uint32_t count() const { return gridDim.x; }
  template <class Body>
  __device__ void each_thread(const Body& body) const {
    body(threadIdx.x);
  }
  template <class Body>
  __device__ void each_warp(const Body& body) const {
    body(Warp{threadIdx.x / kLanes});
  }
  template <class Body>
  __device__ void leader(const Body& body) const {
    if (threadIdx.x == 0) body();
  }
  __device__ void sync() const { __syncthreads(); }
  // To memory that other blocks add to as well; of integers, so the order does not matter.
  __device__ void add(std::int64_t* to, std::uint64_t value) const {
    if (value != 0) {
      atomicAdd(reinterpret_cast<unsigned long long*>(to), static_cast<unsigned long long>(value));
    }
  }
  // The same in memory of this block alone.
  __device__ void add_shared(std::uint32_t* to, std::uint32_t value) const {
    if (value != 0) atomicAdd(to, value);
  }
};

#else

// A GPU stops at an address that is not aligned: so does the emulation.
inline void require_aligned(const void* address, std::size_t alignment) {
  if (reinterpret_cast<std::uintptr_t>(address) % alignment != 0) std::abort();
}
template <class T>
T load_aligned(const void* from) {
  require_aligned(from, alignof(T));
  T value;
  std::memcpy(&value, from, sizeof value);
  return value;
}
template <class T>
void store_aligned(void* to, const T& value) {
  require_aligned(to, alignof(T));
  std::memcpy(to, &value, sizeof value);
}

inline unsigned count_ones(std::uint32_t bits) {
  unsigned ones = 0;
  for (; bits != 0; bits &= bits - 1) ++ones;
  return ones;
}
inline unsigned lowest_one(std::uint64_t bits) {
  unsigned at = 0;
  while ((bits >> at & 1) == 0) ++at;
  return at;
}

template <class T, unsigned kCount>
class PerHost {
 public:
  T& operator[](unsigned i) { return values_[i]; }

 private:
  T values_[kCount] = {};
};
template <class T>
using PerThread = PerHost<T, kThreads>;
template <class T>
using PerLane = PerHost<T, kLanes>;

struct HostWarp {
  unsigned index;

  template <class Body>
  void each_lane(const Body& body) const {
    for (unsigned lane = 0; lane < kLanes; ++lane) body(lane);
  }
  template <class Body>
  void leader(const Body& body) const {
    body();
  }
  void sync() const {}
  std::uint32_t ballot(PerLane<bool>& condition) const {
    std::uint32_t bits = 0;
    for (unsigned lane = 0; lane < kLanes; ++lane) bits |= (condition[lane] ? 1u : 0u) << lane;
    return bits;
  }
  std::uint32_t sum(PerLane<std::uint32_t>& values) const {
    std::uint32_t total = 0;
    for (unsigned lane = 0; lane < kLanes; ++lane) total += values[lane];
    return total;
  }
  void exclusive_sum(PerLane<std::uint32_t>& values) const {
    std::uint32_t before = 0;
    for (unsigned lane = 0; lane < kLanes; ++lane) {
      const std::uint32_t value = values[lane];
      values[lane] = before;
      before += value;
    }
  }
};

// In which order the warps of a block come between two calls of `sync`.
class WarpOrder {
 public:
  // 1: ascending, 2: descending; any other seed: another random order every time.
  explicit WarpOrder(std::uint32_t seed) noexcept : seed_(seed), random_(seed) {
    for (unsigned i = 0; i < kWarps; ++i) warps_[i] = seed == 2 ? kWarps - 1 - i : i;
  }
  const std::array<unsigned, kWarps>& next() noexcept {
    for (unsigned i = kWarps; seed_ > 2 && i > 1; --i) std::swap(warps_[i - 1], warps_[below(i)]);
    return warps_;
  }
  // The i-th lane where threads need not wait for each other.
  unsigned lane(unsigned i) const noexcept { return seed_ == 2 ? kLanes - 1 - i : i; }
  // A number below `bound` for the order of blocks.
  std::uint32_t below(std::uint32_t bound) noexcept {
    random_ = random_ * 1664525 + 1013904223;
    return static_cast<std::uint32_t>((std::uint64_t{random_} * bound) >> 32);
  }

 private:
  std::uint32_t seed_, random_;
  std::array<unsigned, kWarps> warps_;
};

struct HostBlock {
  using Warp = HostWarp;

  std::uint32_t block;
  std::uint32_t blocks;
  WarpOrder* order;

  std::uint32_t index() const { return block; }
  std::uint32_t count() const { return blocks; }
  template <class Body>
  void each_thread(const Body& body) const {
    for (const unsigned warp : order->next()) {
      for (unsigned i = 0; i < kLanes; ++i) body(warp * kLanes + order->lane(i));
    }
  }
  template <class Body>
  void each_warp(const Body& body) const {
    for (const unsigned warp : order->next()) body(Warp{warp});
  }
  template <class Body>
  void leader(const Body& body) const {
    body();
  }
  void sync() const {}
  void add(std::int64_t* to, std::uint64_t value) const { *to += static_cast<std::int64_t>(value); }
  void add_shared(std::uint32_t* to, std::uint32_t value) const { *to += value; }
};

#endif

}  // namespace ternzip::cuda
