#include "core/codecs/fast/layout.hpp"

#include <algorithm>

namespace ternzip::fast {
namespace {

std::uint32_t load_u24(const std::uint8_t* bytes) noexcept {
  return bytes[0] | static_cast<std::uint32_t>(bytes[1]) << 8 | static_cast<std::uint32_t>(bytes[2]) << 16;
}

}  // namespace

bool read_layout(const std::uint8_t* payload, std::size_t size, std::size_t n, const TritCounts& counts,
                 Layout& layout) {
  if (n == 0 || n > kMaxTrits || distinct_trits(counts) < 2) return false;
  if (size < kHeaderSize || !read_header(payload, layout.header)) return false;
  layout.tree = grow_tree(counts, layout.header.symbol_limit, layout.header.max_length);
  std::size_t at = kHeaderSize;
  std::vector<std::uint8_t> factors;
  if (layout.header.adapted) {
    const std::size_t bytes = factor_bytes(layout.tree.leaves.size());
    if (size - at < bytes) return false;
    factors.resize(layout.tree.leaves.size());
    if (!read_factors(payload + at, factors)) return false;
    at += bytes;
  }
  layout.frequency = frequencies(layout.tree, factors, layout.header.precision);

  const std::size_t block_trits = std::size_t{1} << layout.header.block_bits;
  const std::size_t blocks = (n + block_trits - 1) / block_trits;
  if ((size - at) / kBlockEntrySize < blocks) return false;
  const std::uint8_t* entry = payload + at;
  at += blocks * kBlockEntrySize;
  layout.blocks.clear();
  layout.blocks.reserve(blocks);
  for (std::size_t i = 0; i < blocks; ++i, entry += kBlockEntrySize) {
    const std::uint32_t words = load_u24(entry);
    const std::size_t bytes = std::size_t{4} * layout.header.lanes() + std::size_t{2} * words;
    if (size - at < bytes) return false;
    const std::size_t trits = std::min(block_trits, n - i * block_trits);
    layout.blocks.push_back({at, words, load_u24(entry + 3), static_cast<std::uint32_t>(trits)});
    at += bytes;
  }
  return at == size;
}

}  // namespace ternzip::fast
