// The kernels over weights, for a block of threads (cuda/block.hpp). The arithmetic is
// core/weights/element.hpp's.
#pragma once

#include "cuda/block.hpp"
#include "cuda/weights/batch.hpp"

namespace ternzip::cuda {

struct WeightCounter {
  std::uint32_t negative = 0, positive = 0, invalid = 0;

  template <class UInt>
  TERNZIP_KERNEL void add(const Symbol<UInt>& symbol) {
    negative += symbol.negative & 1u;
    positive += symbol.positive & 1u;
    invalid += symbol.invalid & 1u;
  }
};

TERNZIP_KERNEL std::uint64_t least(std::uint64_t a, std::uint64_t b) { return a < b ? a : b; }

// --- which elements, by which thread ----------------------------------------------------------------------

// A tile's elements [first, last): [body, after) in vectors, the others singly.
struct Tile {
  std::uint64_t first, body, after, last;
};

// Vectors need w on a boundary of 16 bytes, and the other arrays aligned where it is.
template <class UInt>
TERNZIP_KERNEL Tile tile_of(const WeightTask& task, std::uint32_t tile) {
  constexpr std::uint64_t kSize = kTileBytes / sizeof(UInt);
  const auto address = reinterpret_cast<std::uintptr_t>(task.w);
  const std::uint64_t head = (0 - address) % kVectorBytes / sizeof(UInt);
  const std::uint64_t out_width = task.output == Output::kTrits ? 1 : sizeof(UInt);
  const auto fits = [&](const void* other, std::uint64_t width) {
    return other == nullptr ||
           (reinterpret_cast<std::uintptr_t>(other) + head * width) % (Vector<UInt>::kSize * width) == 0;
  };
  // Bytes are only counted, by themselves: sixteen of them unrolled would be most of the code.
  const bool vectors = sizeof(UInt) > 1 && fits(task.out, out_width) && fits(task.grad, sizeof(UInt));
  Tile result;
  result.body = least(task.n, head + tile * kSize);
  result.first = tile == 0 ? 0 : result.body;
  result.last = least(task.n, head + (tile + std::uint64_t{1}) * kSize);
  // A tile that is cut short goes by single elements: there is one a tensor.
  result.after = vectors && result.last - result.body == kSize ? result.last : result.body;
  return result;
}

// use(position, load(position)) for every vector of a tile, single(position) for the elements before and
// after.
template <class UInt, class Load, class Use, class Single>
TERNZIP_KERNEL void over_tile(const Tile& tile, unsigned thread, const Load& load, const Use& use,
                              const Single& single) {
  constexpr unsigned kVectors = kTileBytes / kVectorBytes / kThreads;
  constexpr unsigned kSize = Vector<UInt>::kSize;
  if (sizeof(UInt) > 1 && tile.after != tile.body) {
    decltype(load(tile.body)) loaded[kVectors];
    // All loads before the first use: that many bytes are under way together.
    TERNZIP_UNROLL_ALL
    for (unsigned v = 0; v < kVectors; ++v) {
      loaded[v] = load(tile.body + std::uint64_t{v * kThreads + thread} * kSize);
    }
    TERNZIP_UNROLL_ALL
    for (unsigned v = 0; v < kVectors; ++v) {
      use(tile.body + std::uint64_t{v * kThreads + thread} * kSize, loaded[v]);
    }
  }
  TERNZIP_UNROLL_NONE
  for (std::uint64_t at = tile.first + thread; at < tile.body; at += kThreads) single(at);
  TERNZIP_UNROLL_NONE
  for (std::uint64_t at = tile.after + thread; at < tile.last; at += kThreads) single(at);
}

// Calls body with a value of the unsigned type as wide as the weight dtype.
template <class Body>
TERNZIP_KERNEL void with_width(std::uint8_t dtype, const Body& body) {
  switch (static_cast<DType>(dtype)) {
    case DType::kFloat32: body(std::uint32_t{}); break;
    default: body(std::uint16_t{}); break;
  }
}

TERNZIP_KERNEL double scalar_at(const Scalar& scalar, unsigned index) {
  if (scalar.address == nullptr) return scalar.value;
  return scalar.address[scalar.each ? index : 0];
}

// The dtype of floating-point elements of this width; what is constant here need not be decided on the
// device.
template <class UInt>
TERNZIP_KERNEL DType float_dtype(const WeightTask& task) {
  if constexpr (sizeof(UInt) == 2) {
    return static_cast<DType>(task.dtype) == DType::kFloat16 ? DType::kFloat16 : DType::kBFloat16;
  } else {
    return DType::kFloat32;
  }
}

template <class UInt>
TERNZIP_KERNEL UInt rounded_as(double value, DType dtype) {
  if constexpr (sizeof(UInt) == 1) {
    return 0;  // bytes are counted by sign alone
  } else {
    return static_cast<UInt>(rounded_bits(value, dtype));
  }
}

template <class UInt>
TERNZIP_KERNEL Ternarizer<UInt> ternarizer_of(const WeightBatch& batch, const WeightTask& task) {
  if (sizeof(UInt) == 1 || batch.by_sign) return make_sign_counter<UInt>(static_cast<DType>(task.dtype));
  const auto value = [&](unsigned which) { return scalar_at(batch.scalars[which], task.index); };
  return make_ternarizer<UInt>({value(0), value(1), value(2), value(3)}, float_dtype<UInt>(task));
}

// --- forward: clip, ternarize, count ----------------------------------------------------------------------

template <class UInt>
TERNZIP_KERNEL void forward_tile(const WeightTask& task, const Ternarizer<UInt>& t, bool clip, UInt bound,
                                 const Tile& tile, unsigned thread, WeightCounter& counter) {
  auto* const w = static_cast<UInt*>(task.w);
  using In = Vector<UInt>;
  struct alignas(In::kSize) Trits {
    std::int8_t lane[In::kSize];
  };
  over_tile<UInt>(
      tile, thread, [&](std::uint64_t at) { return load_aligned<In>(w + at); },
      [&](std::uint64_t at, In x) {
        if (clip) {
          UInt any = 0;
          TERNZIP_UNROLL_ALL
          for (unsigned i = 0; i < In::kSize; ++i) {
            any = static_cast<UInt>(any | exceeds<UInt>(x.lane[i], bound, t.mask, t.largest));
          }
          if (any != 0) {
            TERNZIP_UNROLL_ALL
            for (unsigned i = 0; i < In::kSize; ++i) {
              x.lane[i] = clipped<UInt>(x.lane[i], bound, t.mask, t.largest);
            }
            store_aligned(w + at, x);
          }
        }
        Trits trits;
        TERNZIP_UNROLL_ALL
        for (unsigned i = 0; i < In::kSize; ++i) {
          const Symbol<UInt> symbol = classify<UInt>(x.lane[i], t);
          x.lane[i] = level_of<UInt>(x.lane[i], symbol, t);
          trits.lane[i] = trit_of(symbol);
          counter.add(symbol);
        }
        if (task.output == Output::kElements) {
          store_aligned(static_cast<UInt*>(task.out) + at, x);
        } else if (task.output == Output::kTrits) {
          store_aligned(static_cast<std::int8_t*>(task.out) + at, trits);
        }
      },
      [&](std::uint64_t at) {
        UInt bits = w[at];
        if (clip && exceeds<UInt>(bits, bound, t.mask, t.largest) != 0) {
          bits = clipped<UInt>(bits, bound, t.mask, t.largest);
          w[at] = bits;
        }
        const Symbol<UInt> symbol = classify<UInt>(bits, t);
        if (task.output == Output::kElements) {
          static_cast<UInt*>(task.out)[at] = level_of<UInt>(bits, symbol, t);
        } else if (task.output == Output::kTrits) {
          static_cast<std::int8_t*>(task.out)[at] = trit_of(symbol);
        }
        counter.add(symbol);
      });
}

// Memory of one block.
struct ForwardShared {
  std::uint32_t counts[3];
};

// Consecutive tiles of one task are counted together: one addition a symbol, block and task.
template <class UInt, class Block>
TERNZIP_KERNEL std::uint32_t forward_task(const WeightBatch& batch, const WeightTask& task,
                                          std::uint32_t tile, std::uint32_t end, const Block& block,
                                          PerThread<WeightCounter>& counters, std::uint64_t& elements) {
  const Ternarizer<UInt> t = ternarizer_of<UInt>(batch, task);
  const UInt bound = rounded_as<UInt>(batch.bound, float_dtype<UInt>(task));
  for (; tile < end; tile += block.count()) {
    const Tile range = tile_of<UInt>(task, tile - task.first_tile);
    elements += range.last - range.first;
    block.each_thread([&](unsigned thread) {
      forward_tile<UInt>(task, t, batch.clip, bound, range, thread, counters[thread]);
    });
  }
  return tile;
}

template <class Block>
TERNZIP_KERNEL void add_counts(const Block& block, PerThread<WeightCounter>& counters, std::uint64_t elements,
                               ForwardShared& shared, std::int64_t* counts) {
  block.leader([&] { shared = {}; });
  block.sync();
  block.each_warp([&](const typename Block::Warp& warp) {
    PerLane<std::uint32_t> negative, positive, invalid;
    warp.each_lane([&](unsigned lane) {
      const WeightCounter& counter = counters[warp.index * kLanes + lane];
      negative[lane] = counter.negative;
      positive[lane] = counter.positive;
      invalid[lane] = counter.invalid;
    });
    const std::uint32_t found[3] = {warp.sum(negative), warp.sum(positive), warp.sum(invalid)};
    warp.leader([&] {
      for (unsigned i = 0; i < 3; ++i) block.add_shared(&shared.counts[i], found[i]);
    });
  });
  block.sync();
  block.leader([&] {
    const std::uint64_t negative = shared.counts[0], positive = shared.counts[1], invalid = shared.counts[2];
    block.add(counts, negative);
    block.add(counts + 1, elements - negative - positive - invalid);
    block.add(counts + 2, positive);
    block.add(counts + 3, invalid);
  });
  block.sync();
}

template <class Block>
TERNZIP_KERNEL void forward(const WeightBatch& batch, const Block& block, ForwardShared& shared) {
  std::uint32_t tile = block.index();
  for (unsigned k = 0; k < batch.tasks && tile < batch.tiles; ++k) {
    const WeightTask& task = batch.task[k];
    const std::uint32_t end = k + 1 < batch.tasks ? batch.task[k + 1].first_tile : batch.tiles;
    if (tile >= end) continue;
    PerThread<WeightCounter> counters;
    std::uint64_t elements = 0;
    switch (format_of(static_cast<DType>(task.dtype)).width) {
      case 1: tile = forward_task<std::uint8_t>(batch, task, tile, end, block, counters, elements); break;
      case 2: tile = forward_task<std::uint16_t>(batch, task, tile, end, block, counters, elements); break;
      default: tile = forward_task<std::uint32_t>(batch, task, tile, end, block, counters, elements); break;
    }
    if (batch.counts != nullptr) {
      add_counts(block, counters, elements, shared, batch.counts + std::size_t{4} * task.index);
    }
  }
}

// --- backward ---------------------------------------------------------------------------------------------

template <class UInt>
struct Gradients {
  Vector<UInt> grad, w;
};

// out[i] = value(grad[i], w[i]); out may be grad.
template <class UInt, class Value>
TERNZIP_KERNEL void backward_tile(const WeightTask& task, const Tile& tile, unsigned thread,
                                  const Value& value) {
  const auto* const g = static_cast<const UInt*>(task.grad);
  const auto* const w = static_cast<const UInt*>(task.w);
  auto* const out = static_cast<UInt*>(task.out);
  over_tile<UInt>(
      tile, thread,
      [&](std::uint64_t at) {
        return Gradients<UInt>{load_aligned<Vector<UInt>>(g + at), load_aligned<Vector<UInt>>(w + at)};
      },
      [&](std::uint64_t at, Gradients<UInt> x) {
        TERNZIP_UNROLL_ALL
        for (unsigned i = 0; i < Vector<UInt>::kSize; ++i)
          x.grad.lane[i] = value(x.grad.lane[i], x.w.lane[i]);
        store_aligned(out + at, x.grad);
      },
      [&](std::uint64_t at) { out[at] = value(g[at], w[at]); });
}

template <class UInt, class Block>
TERNZIP_KERNEL std::uint32_t backward_task(const WeightBatch& batch, const WeightTask& task,
                                           std::uint32_t tile, std::uint32_t end, const Block& block) {
  const DType dtype = float_dtype<UInt>(task);
  const auto ste = static_cast<Ste>(batch.ste);
  const Format format = format_of(dtype);
  const auto mask = static_cast<UInt>(format.magnitude);
  auto limit = static_cast<KeyOf<UInt>>(format.largest);
  if (ste == Ste::kClosed || ste == Ste::kOpen) {
    limit = static_cast<KeyOf<UInt>>(static_cast<KeyOf<UInt>>(rounded_bits(batch.bound, dtype)) -
                                     (ste == Ste::kOpen ? 1 : 0));
  }
  for (; tile < end; tile += block.count()) {
    const Tile range = tile_of<UInt>(task, tile - task.first_tile);
    block.each_thread([&](unsigned thread) {
      if (ste != Ste::kScaled) {
        backward_tile<UInt>(task, range, thread,
                            [&](UInt grad, UInt bits) { return passed<UInt>(grad, bits, mask, limit); });
      } else if constexpr (sizeof(UInt) == 4) {
        const Ternarizer<UInt> t = ternarizer_of<UInt>(batch, task);
        backward_tile<UInt>(task, range, thread,
                            [&](UInt grad, UInt bits) { return scaled<float, UInt>(grad, bits, t); });
      }
    });
  }
  return tile;
}

template <class Block>
TERNZIP_KERNEL void backward(const WeightBatch& batch, const Block& block) {
  std::uint32_t tile = block.index();
  for (unsigned k = 0; k < batch.tasks && tile < batch.tiles; ++k) {
    const WeightTask& task = batch.task[k];
    const std::uint32_t end = k + 1 < batch.tasks ? batch.task[k + 1].first_tile : batch.tiles;
    if (tile >= end) continue;
    with_width(task.dtype,
               [&](auto width) { tile = backward_task<decltype(width)>(batch, task, tile, end, block); });
  }
}

// --- gradients of the levels ------------------------------------------------------------------------------

// The sums of one block of kLevelBlock elements, by kLevelLanes threads; tiles are such blocks here, and as
// many of them as threads allow are dealt with side by side.
inline constexpr unsigned kLevelTiles = kThreads / kLevelLanes;

struct LevelShared {
  LevelSums lanes[kThreads];
};

template <class Type>
TERNZIP_KERNEL LevelSums sum_lane(const WeightBatch& batch, const WeightTask& task, std::uint64_t block,
                                  unsigned lane) {
  using UInt = typename Type::UInt;
  const Ternarizer<UInt> t = ternarizer_of<UInt>(batch, task);
  const auto* const g = static_cast<const UInt*>(task.grad);
  const auto* const w = static_cast<const UInt*>(task.w);
  const std::uint64_t end = least(task.n, (block + 1) * kLevelBlock);
  LevelSums sums{0.0, 0.0};
  // Loads go ahead of the additions, which have to wait for each other.
  TERNZIP_UNROLL_4
  for (std::uint64_t i = block * kLevelBlock + lane; i < end; i += kLevelLanes) {
    add_level<Type>(sums, g[i], w[i], t);
  }
  return sums;
}

template <class Block>
TERNZIP_KERNEL void level_sums(const WeightBatch& batch, const Block& block, LevelShared& shared) {
  const std::uint32_t first = block.index() * kLevelTiles;
  block.each_thread([&](unsigned thread) {
    const std::uint32_t tile = first + thread / kLevelLanes;
    if (tile >= batch.tiles) return;
    unsigned k = 0;
    while (k + 1u < batch.tasks && batch.task[k + 1].first_tile <= tile) ++k;
    const WeightTask& task = batch.task[k];
    const std::uint64_t at = tile - task.first_tile;
    const unsigned lane = thread % kLevelLanes;
    LevelSums& sums = shared.lanes[thread];
    switch (static_cast<DType>(task.dtype)) {
      case DType::kFloat32: sums = sum_lane<Float32>(batch, task, at, lane); break;
      case DType::kFloat16: sums = sum_lane<Float16>(batch, task, at, lane); break;
      default: sums = sum_lane<BFloat16>(batch, task, at, lane); break;
    }
  });
  block.sync();
  block.each_thread([&](unsigned thread) {
    const std::uint32_t tile = first + thread;
    if (thread >= kLevelTiles || tile >= batch.tiles) return;
    LevelSums sums{0.0, 0.0};
    for (unsigned lane = 0; lane < kLevelLanes; ++lane) {
      sums.negative += shared.lanes[thread * kLevelLanes + lane].negative;
      sums.positive += shared.lanes[thread * kLevelLanes + lane].positive;
    }
    batch.level_sums[std::size_t{2} * tile] = sums.negative;
    batch.level_sums[std::size_t{2} * tile + 1] = sums.positive;
  });
}

// The blocks' sums in order; a block of threads a task, of which one thread takes negative and one positive.
template <class Block>
TERNZIP_KERNEL void level_totals(const WeightBatch& batch, const Block& block) {
  const WeightTask& task = batch.task[block.index()];
  const std::uint32_t end =
      block.index() + 1 < batch.tasks ? batch.task[block.index() + 1].first_tile : batch.tiles;
  block.each_thread([&](unsigned thread) {
    if (thread >= 2) return;
    double total = 0;
    TERNZIP_UNROLL_4
    for (std::uint32_t tile = task.first_tile; tile < end; ++tile) {
      total += batch.level_sums[std::size_t{2} * tile + thread];
    }
    batch.level_grads[std::size_t{2} * task.index + thread] = total;
  });
}

}  // namespace ternzip::cuda
