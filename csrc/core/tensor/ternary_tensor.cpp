#include "core/tensor/ternary_tensor.hpp"

#include <algorithm>
#include <array>
#include <atomic>
#include <cstring>
#include <vector>

#include "core/base/parallel.hpp"
#include "core/tensor/patterns.hpp"
#include "core/tensor/scan_kernels.hpp"

namespace ternzip {
namespace {

// Below this a thread costs more than it saves.
constexpr std::size_t kParallelGrain = std::size_t{1} << 18;

// Takes in the levels that a block shows beyond the known ones. False if it holds a NaN or a third level.
bool learn_levels(const void* src, std::size_t n, const Format& format, TernaryLevels& levels) noexcept {
  for (std::size_t i = 0; i < n; ++i) {
    const std::uint64_t bits = load_pattern(src, i, format.width);
    if (bits == 0 || bits == format.negative_zero) continue;
    if (is_nan(format, bits)) return false;
    std::uint64_t& level = is_negative(format, bits) ? levels.negative_bits : levels.positive_bits;
    if (level == 0) level = bits;
    if (level != bits) return false;
  }
  return true;
}

void add(TernaryLevels& to, const TritCounts& counts, std::uint64_t negative_zeros) noexcept {
  to.counts.negative += counts.negative;
  to.counts.zero += counts.zero;
  to.counts.positive += counts.positive;
  to.negative_zeros += negative_zeros;
}

// Adds a range to `levels`, whose patterns it may extend. `stop` ends the work early.
bool scan(const void* src, std::size_t n, const Format& format, TernaryLevels& levels,
          const std::atomic<bool>* stop) noexcept {
  const auto match = scan_kernels().match[width_index(format)];
  for (std::size_t start = 0; start < n; start += kScanBlock) {
    if (stop != nullptr && stop->load(std::memory_order_relaxed)) return false;
    const std::size_t size = std::min(kScanBlock, n - start);
    const void* block = element_at(src, start, format.width);
    // An absent pattern is searched as 0, and what it then finds is not counted.
    TritCounts counts;
    std::uint64_t negative_zeros = 0;
    const auto all_counted = [&] {
      const PatternCounts found =
          match(block, size, levels.negative_bits, levels.positive_bits, format.negative_zero);
      negative_zeros = format.negative_zero != 0 ? found.negative_zero : 0;
      counts.negative = levels.negative_bits != 0 ? found.negative : 0;
      counts.zero = found.zero + negative_zeros;
      counts.positive = levels.positive_bits != 0 ? found.positive : 0;
      return counts.negative + counts.zero + counts.positive == size;
    };
    if (!all_counted()) {
      if (!learn_levels(block, size, format, levels)) return false;
      all_counted();
    }
    add(levels, counts, negative_zeros);
  }
  return true;
}

// Joins the counts and patterns of two ranges; false if they disagree about a level.
bool merge(TernaryLevels& into, const TernaryLevels& from) noexcept {
  const auto join = [](std::uint64_t& a, std::uint64_t b) {
    if (a == 0) a = b;
    return b == 0 || a == b;
  };
  add(into, from.counts, from.negative_zeros);
  const bool negative = join(into.negative_bits, from.negative_bits);
  return join(into.positive_bits, from.positive_bits) && negative;
}

}  // namespace

TernaryLevels detect_levels(const void* src, std::size_t n, const Format& format, unsigned threads) noexcept {
  constexpr std::size_t kMaxParts = 64;
  std::array<TernaryLevels, kMaxParts> parts{};
  std::atomic<bool> stop{false};
  TernaryLevels levels;
  // The first block alone turns most tensors down, without a thread started.
  const std::size_t head = std::min(n, kScanBlock);
  if (!scan(src, head, format, levels, nullptr)) return {};
  const void* tail = element_at(src, head, format.width);
  parallel_for(n - head, kParallelGrain, std::min<unsigned>(threads, kMaxParts),
               [&](std::size_t begin, std::size_t end, std::size_t part) {
                 parts[part].negative_bits = levels.negative_bits;
                 parts[part].positive_bits = levels.positive_bits;
                 if (!scan(element_at(tail, begin, format.width), end - begin, format, parts[part], &stop))
                   stop = true;
               });
  if (stop) return {};
  for (const TernaryLevels& part : parts) {
    if (!merge(levels, part)) return {};
  }
  levels.is_ternary = true;
  return levels;
}

void extract_trits(const void* src, std::size_t n, const Format& format, std::int8_t* trits,
                   unsigned threads) noexcept {
  const auto extract = scan_kernels().extract[width_index(format)];
  parallel_for(n, kParallelGrain, threads, [&](std::size_t begin, std::size_t end, std::size_t) {
    extract(element_at(src, begin, format.width), end - begin, format.negative_zero, trits + begin);
  });
}

namespace {

// The two walks over zeros advance without a branch: which elements are zero is random.
template <class UInt>
std::size_t write_zero_signs(const void* src, std::size_t n, std::uint64_t negative_zero, std::int8_t* signs,
                             std::size_t room) noexcept {
  std::array<std::int8_t, 1024> block;
  std::size_t count = 0;
  for (std::size_t start = 0; start < n;) {
    // One slot stays free for the write that is not kept.
    const std::size_t end = std::min(n, start + block.size() - 1);
    std::size_t kept = 0;
    for (std::size_t i = start; i < end; ++i) {
      const std::uint64_t bits = load_pattern<UInt>(src, i);
      block[kept] = bits == 0 ? 1 : -1;
      kept += static_cast<std::size_t>(bits == 0) | static_cast<std::size_t>(bits == negative_zero);
    }
    const std::size_t fitting = std::min(kept, room - std::min(room, count));
    if (fitting != 0) std::memcpy(signs + count, block.data(), fitting);
    count += kept;
    start = end;
  }
  return count;
}

template <class UInt>
void read_zero_signs(void* dst, std::size_t n, std::uint64_t negative_zero, const std::int8_t* signs,
                     std::size_t n_signs) noexcept {
  std::size_t next = 0;
  for (std::size_t i = 0; i < n && next < n_signs; ++i) {
    const std::uint64_t bits = load_pattern<UInt>(dst, i);
    const auto zero =
        static_cast<std::uint64_t>(bits == 0) | static_cast<std::uint64_t>(bits == negative_zero);
    const auto wrong = static_cast<std::uint64_t>((signs[next] < 0) != (bits != 0));
    const UInt value = static_cast<UInt>(bits ^ (negative_zero & (0 - (zero & wrong))));
    std::memcpy(element_at(dst, i, sizeof value), &value, sizeof value);
    next += static_cast<std::size_t>(zero);
  }
}

}  // namespace

std::size_t extract_zero_signs(const void* src, std::size_t n, const Format& format, std::int8_t* signs,
                               std::size_t room) noexcept {
  switch (format.width) {
    case 1: return write_zero_signs<std::uint8_t>(src, n, format.negative_zero, signs, room);
    case 2: return write_zero_signs<std::uint16_t>(src, n, format.negative_zero, signs, room);
    case 4: return write_zero_signs<std::uint32_t>(src, n, format.negative_zero, signs, room);
    default: return write_zero_signs<std::uint64_t>(src, n, format.negative_zero, signs, room);
  }
}

bool apply_zero_signs(void* dst, std::size_t n, const Format& format, const std::int8_t* signs,
                      std::size_t n_signs) noexcept {
  const auto zeros = scan_kernels().zeros[width_index(format)];
  std::size_t count = 0;
  for (std::size_t start = 0; start < n; start += kScanBlock) {
    count +=
        zeros(element_at(dst, start, format.width), std::min(kScanBlock, n - start), format.negative_zero);
  }
  if (count != n_signs) return false;
  if (format.negative_zero == 0) {
    return std::none_of(signs, signs + n_signs, [](std::int8_t sign) { return sign < 0; });
  }
  switch (format.width) {
    case 1: read_zero_signs<std::uint8_t>(dst, n, format.negative_zero, signs, n_signs); break;
    case 2: read_zero_signs<std::uint16_t>(dst, n, format.negative_zero, signs, n_signs); break;
    case 4: read_zero_signs<std::uint32_t>(dst, n, format.negative_zero, signs, n_signs); break;
    default: read_zero_signs<std::uint64_t>(dst, n, format.negative_zero, signs, n_signs); break;
  }
  return true;
}

CheckedTritCounts count_trits(const std::int8_t* trits, std::size_t n) noexcept {
  const auto match = scan_kernels().match[0];
  CheckedTritCounts counts;
  for (std::size_t start = 0; start < n; start += kScanBlock) {
    const PatternCounts found = match(trits + start, std::min(kScanBlock, n - start), 0xff, 1, 0);
    counts.negative += found.negative;
    counts.zero += found.zero;
    counts.positive += found.positive;
  }
  counts.invalid = n - counts.negative - counts.zero - counts.positive;
  return counts;
}

}  // namespace ternzip
