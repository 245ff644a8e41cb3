// Decoding `fast` payloads, for a block of threads (cuda/block.hpp): docs/format-fast.md block by block.
//
// A block of threads decodes one block of the format, as a pipeline of three stages that work on consecutive
// batches of symbols at the same time. Warp 0 holds the states, one a lane, and decodes the symbols, which is
// a chain of dependent steps and sets the pace. Some warps write the trits of the batch before into shared
// memory, the others turn those of the batch before that into elements and keep the words of the payload
// coming.
//
// Nothing in a payload is trusted: the words and trits that a block has are counted down, all else that is
// looked up has a table entry for every index, and every step of the first stage decodes at least one trit.
#pragma once

#include "cuda/block.hpp"
#include "cuda/fast/batch.hpp"

namespace ternzip::cuda {

inline constexpr std::uint32_t kFastFloor = 1u << 16;
inline constexpr unsigned kFastMinTailLanes = 8;
inline constexpr unsigned kFastMaxLanes = 64;

inline constexpr unsigned kExpandWarps = 3;
inline constexpr unsigned kFlushThreads = (kWarps - 1 - kExpandWarps) * kLanes;
inline constexpr unsigned kSteps = 32;          // of up to 32 symbols, in a batch
inline constexpr unsigned kStageTrits = 12288;  // of a batch
inline constexpr unsigned kRingWords = 2048;    // twice what a batch can take: see refill
inline constexpr unsigned kGroup = 16;          // trits that make one vector of bytes
static_assert(kStageTrits >= kLanes * 63 && kRingWords >= 2 * kSteps * kLanes);

struct FastStep {
  std::uint16_t base;  // trits of the batch before it
  std::uint16_t active;
};

struct FastInfo {
  std::uint32_t steps;
  std::uint32_t start;  // trits of the block before this batch
  std::uint32_t trits;  // of the batch, without what is too much
  std::uint32_t taken;  // words of the block after this batch
  bool last;
};

struct FastShared {
  std::uint64_t nonzero[kFastSymbols];
  std::uint64_t negative[kFastSymbols];
  alignas(kVectorBytes) std::int8_t stage[2][kStageTrits + kGroup];  // zeros but for what is on its way
  std::uint32_t range[kFastSymbols];
  FastInfo info[4];
  FastStep steps[2][kSteps];
  std::uint32_t counts[2];
  std::uint32_t refused;
  std::uint16_t words[kRingWords];
  std::uint16_t tail[kFastMaxLanes];
  std::uint8_t symbols[2][kSteps * kLanes];
  std::uint8_t length[kFastSymbols];
};

TERNZIP_KERNEL std::uint32_t fast_word(const std::uint8_t* bytes) {
#if defined(__CUDACC__)
  return load_aligned<std::uint16_t>(bytes);  // a GPU is little-endian
#else
  require_aligned(bytes, 2);
  return bytes[0] | static_cast<std::uint32_t>(bytes[1]) << 8;
#endif
}

TERNZIP_KERNEL std::uint32_t smaller(std::uint32_t a, std::uint32_t b) { return a < b ? a : b; }

// --- the symbol of every slot, one block of threads a table -----------------------------------------------

template <class Block>
TERNZIP_KERNEL void fill_slots(const FastBatch& batch, const Block& block) {
  const FastTable& table = batch.tables[block.index()];
  std::uint8_t* const slots = batch.slots + (std::size_t{block.index()} << batch.slot_bits);
  block.each_thread([&](unsigned thread) {
    TERNZIP_UNROLL_NONE
    for (std::uint32_t slot = thread; slot < 1u << table.precision; slot += kThreads) {
      std::uint32_t low = 0, high = table.symbols;  // the last symbol that starts at the slot or before it
      TERNZIP_UNROLL_NONE
      while (high - low > 1) {
        const std::uint32_t middle = (low + high) / 2;
        if (table.range[middle] >> 16 <= slot) {
          low = middle;
        } else {
          high = middle;
        }
      }
      slots[slot] = static_cast<std::uint8_t>(low);
    }
  });
}

// --- stage 1: symbols -------------------------------------------------------------------------------------

// What decoding a symbol makes of a state, which may fall below kFastFloor by it.
struct Popped {
  std::uint32_t state;
  std::uint8_t symbol;
};

TERNZIP_KERNEL Popped pop(std::uint32_t state, const std::uint8_t* slots, std::uint32_t precision,
                          const FastShared& shared) {
  const std::uint32_t slot = state & ((1u << precision) - 1);
  const std::uint8_t symbol = slots[slot];
  const std::uint32_t range = shared.range[symbol];
  return {(range & 0xFFFFu) * (state >> precision) + slot - (range >> 16), symbol};
}

template <class Warp>
class SymbolStage {
 public:
  TERNZIP_KERNEL SymbolStage(const FastBlock& block, const FastTable& table, const std::uint8_t* slots)
      : block_(block),
        slots_(slots),
        precision_(table.precision),
        lanes_(table.lanes),
        width_(smaller(table.lanes, kLanes)),
        longest_(table.longest),
        max_steps_(smaller(kSteps, kStageTrits / (width_ * table.longest))) {}

  TERNZIP_KERNEL void start(const Warp& warp, const std::uint8_t* states, FastShared& shared) {
    PerLane<bool> low;
    warp.each_lane([&](unsigned lane) {
      const auto state = [&](unsigned index) {
        if (index >= lanes_) return kFastFloor;  // takes no part
        return fast_word(states + 4 * index) | fast_word(states + 4 * index + 2) << 16;
      };
      next_[lane] = state(lane);
      other_[lane] = state(lane + kLanes);
      low[lane] = next_[lane] < kFastFloor || other_[lane] < kFastFloor;
    });
    if (warp.ballot(low) != 0) refuse(warp, shared);
  }

  // Decodes the batch `index`, whatever there is left to do.
  TERNZIP_KERNEL void run(const Warp& warp, std::uint32_t index, FastShared& shared) {
    FastInfo& info = shared.info[index % 4];
    std::uint8_t* const symbols = shared.symbols[index % 2];
    FastStep* const steps = shared.steps[index % 2];
    if (finished_) {
      warp.leader([&] { info = {0, trits_, 0, taken_, true}; });
    } else if (tail_) {
      warp.leader([&] { info = decode_tail(symbols, steps, shared); });
    } else {
      const FastInfo decoded = decode_interleaved(warp, symbols, steps, shared);
      warp.leader([&] { info = decoded; });
    }
    warp.sync();
    trits_ = info.start + info.trits;
    finished_ = info.last;
  }

 private:
  TERNZIP_KERNEL void refuse(const Warp& warp, FastShared& shared) {
    warp.leader([&] { shared.refused = 1; });
    finished_ = true;
  }

  TERNZIP_KERNEL FastInfo decode_interleaved(const Warp& warp, std::uint8_t* symbols, FastStep* steps,
                                             FastShared& shared) {
    std::uint32_t step = 0, trits = 0, last_length = 0;
    TERNZIP_UNROLL_NONE
    for (; step < max_steps_ && done_ < block_.symbols; ++step) {
      const std::uint32_t active = smaller(width_, block_.symbols - done_);
      PerLane<bool> hungry;
      PerLane<std::uint32_t> length;
      warp.each_lane([&](unsigned lane) {
        const Popped popped = pop(next_[lane], slots_, precision_, shared);
        const bool takes_part = lane < active;
        if (takes_part) {
          next_[lane] = popped.state;
          symbols[step * kLanes + lane] = popped.symbol;
        }
        hungry[lane] = takes_part && popped.state < kFastFloor;
        length[lane] = takes_part ? shared.length[popped.symbol] : 0;
      });
      const std::uint32_t mask = warp.ballot(hungry);
      const std::uint32_t words = count_ones(mask);
      if (words > block_.words - taken_) {
        refuse(warp, shared);
        return {0, trits_, 0, taken_, true};
      }
      warp.each_lane([&](unsigned lane) {
        if (!hungry[lane]) return;
        const std::uint32_t word = taken_ + count_ones(mask & ((1u << lane) - 1));
        next_[lane] = next_[lane] << 16 | shared.words[word % kRingWords];
      });
      taken_ += words;
      warp.leader(
          [&] { steps[step] = {static_cast<std::uint16_t>(trits), static_cast<std::uint16_t>(active)}; });
      trits += warp.sum(length);
      done_ += active;
      if (lanes_ > kLanes) swap_halves(warp);
    }
    warp.sync();
    if (step != 0) {
      const std::uint32_t active = steps[step - 1].active;
      last_length = shared.length[symbols[(step - 1) * kLanes + active - 1]];
    }
    // A symbol that begins when the block has all its trits is one too many; later ones begin later.
    bool wrong = step != 0 && trits_ + trits - last_length >= block_.trits;
    if (done_ == block_.symbols) {
      wrong = wrong || taken_ != block_.words || !ends_well(warp, trits_ + trits, shared);
      finished_ = !tail_;
    }
    if (wrong) {
      refuse(warp, shared);
      return {0, trits_, 0, taken_, true};
    }
    return {step, trits_, smaller(trits, block_.trits - trits_), taken_, finished_};
  }

  TERNZIP_KERNEL void swap_halves(const Warp& warp) {
    warp.each_lane([&](unsigned lane) {
      const std::uint32_t state = next_[lane];
      next_[lane] = other_[lane];
      other_[lane] = state;
    });
    half_ ^= 1u;
  }

  // Whether the states may be those at the end of the interleaved symbols; opens the tail where there is one.
  TERNZIP_KERNEL bool ends_well(const Warp& warp, std::uint32_t trits, FastShared& shared) {
    tail_ = lanes_ >= kFastMinTailLanes;
    PerLane<bool> wrong;
    warp.each_lane([&](unsigned lane) {
      const auto is_wrong = [&](std::uint32_t state) {
        return tail_ ? state >> 16 != 1 : state != kFastFloor;
      };
      wrong[lane] = is_wrong(next_[lane]) || is_wrong(other_[lane]);
      const unsigned first = half_ * kLanes + lane;
      const unsigned second = (half_ ^ 1u) * kLanes + lane;
      shared.tail[first] = static_cast<std::uint16_t>(next_[lane]);
      shared.tail[second] = static_cast<std::uint16_t>(other_[lane]);
    });
    return warp.ballot(wrong) == 0 && (tail_ || trits >= block_.trits);
  }

  // One lane decodes what the states hold in the end.
  TERNZIP_KERNEL FastInfo decode_tail(std::uint8_t* symbols, FastStep* steps, FastShared& shared) {
    if (tail_next_ == 0) {
      tail_state_ = shared.tail[0] | static_cast<std::uint32_t>(shared.tail[1]) << 16;
      tail_next_ = 2;
    }
    bool wrong = tail_state_ < kFastFloor;
    std::uint32_t count = 0, trits = 0;
    TERNZIP_UNROLL_NONE
    while (!wrong && trits_ + trits < block_.trits && count < kSteps * kLanes &&
           trits + longest_ <= kStageTrits) {
      const Popped popped = pop(tail_state_, slots_, precision_, shared);
      tail_state_ = popped.state;
      if (tail_state_ < kFastFloor) {
        if (tail_next_ == lanes_) {
          wrong = true;
          break;
        }
        tail_state_ = tail_state_ << 16 | shared.tail[tail_next_++];
      }
      if (count % kLanes == 0) steps[count / kLanes].base = static_cast<std::uint16_t>(trits);
      steps[count / kLanes].active = static_cast<std::uint16_t>(count % kLanes + 1);
      symbols[count++] = popped.symbol;
      trits += shared.length[popped.symbol];
    }
    const bool last = trits_ + trits >= block_.trits;
    if (last && !wrong) {
      TERNZIP_UNROLL_NONE
      for (; tail_next_ < lanes_; ++tail_next_) wrong = wrong || shared.tail[tail_next_] != 0;
      wrong = wrong || tail_state_ != kFastFloor;
    }
    if (wrong) {
      shared.refused = 1;
      return {0, trits_, 0, taken_, true};
    }
    return {(count + kLanes - 1) / kLanes, trits_, smaller(trits, block_.trits - trits_), taken_, last};
  }

  const FastBlock block_;  // a copy: stores to shared memory cannot change it
  const std::uint8_t* slots_;
  std::uint32_t precision_, lanes_, width_, longest_, max_steps_;
  PerLane<std::uint32_t> next_, other_;  // of 64 states, the 32 whose turn it is and the others
  std::uint32_t half_ = 0;               // which half next_ is
  std::uint32_t done_ = 0;               // interleaved symbols
  std::uint32_t taken_ = 0;              // words
  std::uint32_t trits_ = 0;              // of all batches before
  bool tail_ = false;
  bool finished_ = false;
  std::uint32_t tail_state_ = 0;  // of the leader alone
  std::uint32_t tail_next_ = 0;
};

// The words that stage 1 may take in the batch `index + 1`: it has those up to the second of these bounds
// while it works on `index`, and overwritten is only what it had taken before.
TERNZIP_KERNEL std::uint32_t words_present(const FastBlock& block, std::uint32_t taken) {
  return smaller(block.words, taken + kRingWords);
}

template <class Warp>
TERNZIP_KERNEL void refill(const Warp& warp, const std::uint8_t* words, std::uint32_t begin,
                           std::uint32_t end, unsigned first_warp, FastShared& shared) {
  warp.each_lane([&](unsigned lane) {
    const unsigned thread = (warp.index - first_warp) * kLanes + lane;
    TERNZIP_UNROLL_NONE
    for (std::uint32_t i = begin + thread; i < end; i += (kWarps - first_warp) * kLanes) {
      shared.words[i % kRingWords] = static_cast<std::uint16_t>(fast_word(words + std::size_t{2} * i));
    }
  });
}

// --- stage 2: trits ---------------------------------------------------------------------------------------

// In shared memory a batch lies as in the tensor, modulo kGroup, so that whole vectors of elements are
// vectors of trits. Only what is not zero is written.
TERNZIP_KERNEL std::uint32_t shift_of(const FastBlock& block, const FastInfo& info) {
  return static_cast<std::uint32_t>((block.out + info.start) % kGroup);
}

template <class Warp>
TERNZIP_KERNEL void expand(const Warp& warp, const FastBlock& block, std::uint32_t index,
                           FastShared& shared) {
  const FastInfo info = shared.info[index % 4];
  std::int8_t* const stage = shared.stage[index % 2] + shift_of(block, info);
  const std::uint8_t* const symbols = shared.symbols[index % 2];
  TERNZIP_UNROLL_NONE
  for (std::uint32_t s = warp.index - 1; s < info.steps; s += kExpandWarps) {
    const FastStep step = shared.steps[index % 2][s];
    PerLane<std::uint32_t> at;
    warp.each_lane([&](unsigned lane) {
      at[lane] = lane < step.active ? shared.length[symbols[s * kLanes + lane]] : 0;
    });
    warp.exclusive_sum(at);
    warp.each_lane([&](unsigned lane) {
      if (lane >= step.active) return;
      const std::uint8_t symbol = symbols[s * kLanes + lane];
      const std::uint32_t first = step.base + at[lane];
      const std::uint64_t negative = shared.negative[symbol];
      for (std::uint64_t rest = shared.nonzero[symbol]; rest != 0; rest &= rest - 1) {
        const unsigned k = lowest_one(rest);
        if (first + k >= info.trits) break;
        stage[first + k] = (negative >> k & 1) != 0 ? std::int8_t{-1} : std::int8_t{1};
      }
    });
  }
}

// --- stage 3: elements ------------------------------------------------------------------------------------

struct ElementCounter {
  std::uint32_t negative = 0, positive = 0;
  bool lacks_level = false;  // a symbol of a row without a level for it
};

// The patterns of an element's row.
struct FastLevels {
  std::uint64_t negative, positive;
  std::uint64_t row;
  std::uint64_t left;  // elements from this one to the end of the row
};

TERNZIP_KERNEL FastLevels levels_of_row(const FastBatch& batch, std::uint64_t row, std::uint64_t column) {
  return {batch.row_negative[row], batch.row_positive[row], row, batch.cols - column};
}

TERNZIP_KERNEL FastLevels levels_at(const FastBatch& batch, std::uint64_t element) {
  if (batch.row_negative == nullptr) return {batch.negative, batch.positive, 0, ~std::uint64_t{0}};
  const std::uint64_t row = element / batch.cols;
  return levels_of_row(batch, row, element - row * batch.cols);
}

template <class Element>
TERNZIP_KERNEL Element element_of(std::int8_t trit, const FastLevels& levels, std::uint64_t zero,
                                  ElementCounter& counter) {
  counter.negative += trit < 0 ? 1 : 0;
  counter.positive += trit > 0 ? 1 : 0;
  const std::uint64_t level = trit < 0 ? levels.negative : levels.positive;
  counter.lacks_level = counter.lacks_level || (trit != 0 && level == 0);
  return static_cast<Element>(trit != 0 ? level : zero);
}

template <class Element, class Warp>
TERNZIP_KERNEL void flush(const Warp& warp, const FastBatch& batch, const FastBlock& block,
                          std::uint32_t index, FastShared& shared, PerThread<ElementCounter>& counters) {
  constexpr unsigned kSize = Vector<Element>::kSize;
  struct alignas(kSize) Trits {
    std::int8_t lane[kSize];
  };
  const FastInfo info = shared.info[index % 4];
  if (info.trits == 0) return;
  const std::uint32_t shift = shift_of(block, info);
  const std::uint32_t end = shift + info.trits;
  std::int8_t* const stage = shared.stage[index % 2];
  const std::uint64_t base = block.out + info.start - shift;  // the element of stage[0]
  auto* const out = static_cast<Element*>(batch.out) + base;
  const bool aligned = reinterpret_cast<std::uintptr_t>(batch.out) % kVectorBytes == 0;
  warp.each_lane([&](unsigned lane) {
    const unsigned thread = (warp.index - 1 - kExpandWarps) * kLanes + lane;
    ElementCounter& counter = counters[warp.index * kLanes + lane];
    TERNZIP_UNROLL_NONE
    for (std::uint32_t at = shift / kSize * kSize + thread * kSize; at < end; at += kFlushThreads * kSize) {
      FastLevels levels = levels_at(batch, base + at);
      if (aligned && at >= shift && at + kSize <= end && levels.left >= kSize) {
        const Trits trits = load_aligned<Trits>(stage + at);
        Vector<Element> elements;
        TERNZIP_UNROLL_ALL
        for (unsigned k = 0; k < kSize; ++k) {
          elements.lane[k] = element_of<Element>(trits.lane[k], levels, batch.zero, counter);
        }
        store_aligned(out + at, elements);
      } else {
        TERNZIP_UNROLL_NONE
        for (unsigned k = 0; k < kSize && at + k < end; ++k, --levels.left) {
          if (levels.left == 0) levels = levels_of_row(batch, levels.row + 1, 0);
          if (at + k < shift) continue;
          out[at + k] = element_of<Element>(stage[at + k], levels, batch.zero, counter);
        }
      }
      store_aligned(stage + at, Trits{});
    }
  });
}

template <class Warp>
TERNZIP_KERNEL void flush(const Warp& warp, const FastBatch& batch, const FastBlock& block,
                          std::uint32_t index, FastShared& shared, PerThread<ElementCounter>& counters) {
  switch (batch.element_size) {
    case 1: flush<std::uint8_t>(warp, batch, block, index, shared, counters); break;
    case 2: flush<std::uint16_t>(warp, batch, block, index, shared, counters); break;
    case 4: flush<std::uint32_t>(warp, batch, block, index, shared, counters); break;
    default: flush<std::uint64_t>(warp, batch, block, index, shared, counters); break;
  }
}

// --- a block ----------------------------------------------------------------------------------------------

template <class Block>
TERNZIP_KERNEL void open_shared(const FastTable& table, const Block& block, FastShared& shared) {
  block.each_thread([&](unsigned thread) {
    TERNZIP_UNROLL_NONE
    for (unsigned i = thread; i < kFastSymbols; i += kThreads) {
      shared.range[i] = table.range[i];
      shared.nonzero[i] = table.nonzero[i];
      shared.negative[i] = table.negative[i];
      shared.length[i] = table.length[i];
    }
    TERNZIP_UNROLL_NONE
    // NOLINTNEXTLINE(bugprone-sizeof-expression): bytes are what is counted
    for (unsigned i = thread * kVectorBytes; i < sizeof shared.stage; i += kThreads * kVectorBytes) {
      store_aligned(reinterpret_cast<std::uint8_t*>(shared.stage) + i, Vector<std::uint32_t>{});
    }
  });
  block.leader([&] {
    shared.refused = 0;
    shared.counts[0] = 0;
    shared.counts[1] = 0;
  });
}

template <class Block>
TERNZIP_KERNEL void add_counts(const FastBatch& batch, const FastBlock& job, const Block& block,
                               FastShared& shared, PerThread<ElementCounter>& counters) {
  block.each_warp([&](const typename Block::Warp& warp) {
    PerLane<std::uint32_t> negative, positive;
    PerLane<bool> lacks_level;
    warp.each_lane([&](unsigned lane) {
      const ElementCounter& counter = counters[warp.index * kLanes + lane];
      negative[lane] = counter.negative;
      positive[lane] = counter.positive;
      lacks_level[lane] = counter.lacks_level;
    });
    const std::uint32_t found[2] = {warp.sum(negative), warp.sum(positive)};
    const bool refused = warp.ballot(lacks_level) != 0;
    warp.leader([&] {
      block.add_shared(&shared.counts[0], found[0]);
      block.add_shared(&shared.counts[1], found[1]);
      block.add_shared(&shared.refused, refused ? 1 : 0);
    });
  });
  block.sync();
  block.leader([&] {
    std::int64_t* const counts = batch.counts + std::size_t{4} * job.table;
    const std::uint32_t negative = shared.counts[0], positive = shared.counts[1];
    block.add(counts, negative);
    block.add(counts + 1, job.trits - negative - positive);
    block.add(counts + 2, positive);
    block.add(counts + 3, shared.refused != 0 ? 1 : 0);
  });
}

template <class Block>
TERNZIP_KERNEL void decode_block(const FastBatch& batch, const Block& block, FastShared& shared) {
  using Warp = typename Block::Warp;
  const FastBlock job = batch.blocks[block.index()];
  const FastTable& table = batch.tables[job.table];
  const std::uint8_t* const states = batch.payload + job.states;
  const std::uint8_t* const words = states + std::size_t{4} * table.lanes;
  const std::uint8_t* const slots = batch.slots + (std::size_t{job.table} << batch.slot_bits);
  constexpr unsigned kFirstFlush = 1 + kExpandWarps;

  open_shared(table, block, shared);
  block.sync();
  SymbolStage<Warp> symbols(job, table, slots);
  PerThread<ElementCounter> counters;
  block.each_warp([&](const Warp& warp) {
    if (warp.index == 0) symbols.start(warp, states, shared);
    refill(warp, words, 0, words_present(job, 0), 0, shared);
  });
  block.sync();
  std::uint32_t present = words_present(job, 0);
  TERNZIP_UNROLL_NONE
  for (std::uint32_t i = 0;; ++i) {
    const std::uint32_t wanted = i == 0 ? present : words_present(job, shared.info[(i - 1) % 4].taken);
    block.each_warp([&](const Warp& warp) {
      if (warp.index == 0) {
        symbols.run(warp, i, shared);
      } else if (warp.index < kFirstFlush) {
        if (i >= 1) expand(warp, job, i - 1, shared);
      } else {
        refill(warp, words, present, wanted, kFirstFlush, shared);
        if (i >= 2) flush(warp, batch, job, i - 2, shared, counters);
      }
    });
    present = wanted;
    block.sync();
    if (i >= 2 && shared.info[(i - 2) % 4].last) break;
  }
  add_counts(batch, job, block, shared, counters);
}

}  // namespace ternzip::cuda
