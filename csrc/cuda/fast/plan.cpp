#include "cuda/fast/plan.hpp"

#include <algorithm>
#include <cstring>

#include "core/codecs/fast/layout.hpp"
#include "cuda/fast/launch.hpp"

namespace ternzip::cuda {
namespace {

constexpr std::size_t kAlignment = 16;
static_assert(sizeof(FastTable) % kAlignment == 0 && sizeof(FastBlock) % kAlignment == 0);

std::size_t padded(std::size_t size) { return (size + kAlignment - 1) / kAlignment * kAlignment; }

FastTable table_of(const fast::Layout& layout) {
  FastTable table{};
  table.precision = layout.header.precision;
  table.lanes = layout.header.lanes();
  table.symbols = static_cast<std::uint32_t>(layout.tree.leaves.size());
  std::uint32_t start = 0;
  for (std::size_t symbol = 0; symbol < layout.tree.leaves.size(); ++symbol) {
    // Two symbols or more share the slots, so that 16 bits hold each.
    table.range[symbol] = layout.frequency[symbol] | start << 16;
    start += layout.frequency[symbol];
    const fast::Node* node = &layout.tree.nodes[static_cast<std::size_t>(layout.tree.leaves[symbol])];
    table.length[symbol] = node->length;
    table.longest = std::max<std::uint32_t>(table.longest, node->length);
    for (; node->length != 0; node = &layout.tree.nodes[static_cast<std::size_t>(node->parent)]) {
      const std::uint64_t bit = std::uint64_t{1} << (node->length - 1);
      if (node->trit != 0) table.nonzero[symbol] |= bit;
      if (node->trit < 0) table.negative[symbol] |= bit;
    }
  }
  return table;
}

}  // namespace

bool FastUpload::read(std::vector<FastChunk> chunks, const TritCounts& counts) {
  chunks_ = std::move(chunks);
  return std::all_of(chunks_.begin(), chunks_.end(),
                     [&](const FastChunk& chunk) { return read_chunk(chunk, counts); });
}

bool FastUpload::read_chunk(const FastChunk& chunk, const TritCounts& counts) {
  fast::Layout layout;
  if (chunk.n == 0 || !fast::read_layout(chunk.payload, chunk.size, chunk.n, counts, layout)) return false;
  const auto index = static_cast<std::uint32_t>(tables_.size());
  tables_.push_back(table_of(layout));
  slot_bits_ = std::max(slot_bits_, layout.header.precision);
  std::uint64_t out = chunk.out;
  for (const fast::BlockEntry& block : layout.blocks) {
    blocks_.push_back({payload_size_ + block.begin, out, block.words, block.symbols, block.trits, index});
    out += block.trits;
  }
  payload_size_ += padded(chunk.size);
  return true;
}

void FastUpload::write(std::uint8_t* to) const {
  const auto put = [&](const void* from, std::size_t size) {
    if (size != 0) std::memcpy(to, from, size);
    to += size;
  };
  put(tables_.data(), tables_.size() * sizeof(FastTable));
  put(blocks_.data(), blocks_.size() * sizeof(FastBlock));
  for (const FastChunk& chunk : chunks_) {
    put(chunk.payload, chunk.size);
    const std::size_t filling = padded(chunk.size) - chunk.size;
    std::memset(to, 0, filling);
    to += filling;
  }
}

void FastUpload::decode(const std::uint8_t* upload, std::uint8_t* scratch, const FastElements& elements,
                        std::int64_t* counts, const Target& target) const {
  FastBatch batch{};
  batch.tables = reinterpret_cast<const FastTable*>(upload);
  batch.blocks = reinterpret_cast<const FastBlock*>(upload + tables_.size() * sizeof(FastTable));
  batch.payload = upload + payload_begin();
  batch.slots = scratch;
  batch.block_count = static_cast<std::uint32_t>(blocks_.size());
  batch.table_count = static_cast<std::uint32_t>(tables_.size());
  batch.slot_bits = slot_bits_;
  batch.element_size = elements.element_size;
  batch.out = elements.out;
  batch.negative = elements.negative;
  batch.zero = elements.zero;
  batch.positive = elements.positive;
  batch.row_negative = elements.row_negative;
  batch.row_positive = elements.row_positive;
  batch.cols = elements.cols;
  batch.counts = counts;
  clear(counts, 4 * sizeof(std::int64_t) * chunks_.size(), target);
  if (!blocks_.empty()) launch(batch, target);
}

}  // namespace ternzip::cuda
