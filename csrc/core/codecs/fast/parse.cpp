#include "core/codecs/fast/parse.hpp"

#include <algorithm>
#include <array>
#include <cstring>

#include "core/codecs/fast/parse_kernels.hpp"
#include "core/simd/isa.hpp"

namespace ternzip::fast {
namespace {

GroupCodes group_codes() noexcept {
#if defined(TERNZIP_X86)
  if (active_isa() == Isa::avx512) return kGroupCodesAvx512;
  if (active_isa() == Isa::avx2) return kGroupCodesAvx2;
#endif
  return kGroupCodesBaseline;
}

constexpr std::size_t kMaxTables = 16;
constexpr std::size_t kTritsPerTable = 1024;  // fewer do not repay the making of a table
constexpr std::size_t kWindow = 4096;         // trits whose groups are computed together
constexpr std::size_t kAhead = kWindow + kMaxLength + 1;

// Where a group leads: a symbol and how many trits of the group it takes (length << 8 | symbol), or, if no
// leaf is met, kInner | node.
constexpr std::uint16_t kInner = 0x8000;
using GroupTable = std::array<std::uint16_t, kGroupValues>;

class Parser {
 public:
  // A parser for about n trits.
  Parser(const ParseTree& tree, std::size_t n) : tree_(tree), table_of_(tree.nodes.size(), -1) {
    for (unsigned i = 0; i < tree.arity; ++i)
      child_[static_cast<std::size_t>(tree.present[i] + 1)] = static_cast<int>(i);
    padding_ = child_[1] >= 0 ? std::int8_t{0} : tree.present[0];
    // Strings longer than a group go on in a table of their own while there are few; rarer ones step by step.
    const std::size_t most = std::clamp<std::size_t>(n / kTritsPerTable, 1, kMaxTables);
    tables_.reserve(most);
    std::vector<std::size_t> inner = {0};
    while (!inner.empty() && tables_.size() < most) {
      const auto heaviest = std::max_element(inner.begin(), inner.end(), [&](std::size_t a, std::size_t b) {
        return tree.nodes[a].weight < tree.nodes[b].weight;
      });
      const std::size_t node = *heaviest;
      inner.erase(heaviest);
      table_of_[node] = static_cast<std::int8_t>(tables_.size());
      tables_.emplace_back();
      fill(node, 0, 0, kGroupValues, inner);
    }
  }

  // A block on its way through the parser. `out` has room for a symbol a trit.
  struct Stream {
    const std::int8_t* trits;
    std::size_t left;
    std::uint8_t* out;
    std::size_t at = 0;   // of the next symbol, in the window
    std::size_t end = 0;  // of the window's own trits; symbols may reach beyond
    std::array<std::int8_t, kAhead + kGroup> window;
    std::array<std::uint16_t, kAhead> groups;
  };

  void parse(Stream& stream) const {
    while (next_window(stream)) {
      while (stream.at < stream.end) take_symbol(stream, stream.at, stream.out);
    }
  }

  // Two blocks in lockstep, since parsing one waits for a load most of the time.
  void parse(Stream& first, Stream& second) const {
    while (next_window(first) && next_window(second)) {
      std::size_t at_first = first.at;
      std::size_t at_second = second.at;
      std::uint8_t* out_first = first.out;
      std::uint8_t* out_second = second.out;
      while (at_first < first.end && at_second < second.end) {
        take_symbol(first, at_first, out_first);
        take_symbol(second, at_second, out_second);
      }
      first.at = at_first;
      second.at = at_second;
      first.out = out_first;
      second.out = out_second;
    }
    parse(first);
    parse(second);
  }

 private:
  bool is_leaf(std::size_t node) const { return tree_.nodes[node].symbol >= 0; }
  std::size_t step(std::size_t node, std::int8_t trit) const {
    return static_cast<std::size_t>(tree_.nodes[node].first_child +
                                    child_[static_cast<std::size_t>(trit + 1)]);
  }

  // Fills the entries of the newest table whose groups begin as the string from the table's node to `node`.
  // Adds the inner nodes at the ends of groups to `inner`.
  void fill(std::size_t node, unsigned depth, std::size_t first, std::size_t count,
            std::vector<std::size_t>& inner) {
    GroupTable& table = tables_.back();
    if (is_leaf(node)) {
      const auto entry =
          static_cast<std::uint16_t>(depth << 8 | static_cast<unsigned>(tree_.nodes[node].symbol));
      std::fill_n(table.begin() + static_cast<std::ptrdiff_t>(first), count, entry);
    } else if (depth == kGroup) {
      table[first] = static_cast<std::uint16_t>(kInner | node);
      inner.push_back(node);
    } else {
      for (unsigned i = 0; i < tree_.arity; ++i) {
        const auto digit = static_cast<std::size_t>(tree_.present[i] + 1);
        fill(step(node, tree_.present[i]), depth + 1, first + digit * (count / 3), count / 3, inner);
      }
    }
  }

  void take_symbol(const Stream& stream, std::size_t& at, std::uint8_t*& out) const {
    std::uint16_t entry = tables_[0][stream.groups[at]];
    while (entry >= kInner) {
      at += kGroup;
      entry = follow(stream, entry & (kInner - 1u), at);
    }
    at += entry >> 8;
    *out++ = static_cast<std::uint8_t>(entry);
  }

  // Goes on from an inner node at the trit `at`: the entry of a group from there.
  std::uint16_t follow(const Stream& stream, std::size_t node, std::size_t at) const {
    if (table_of_[node] >= 0) return tables_[static_cast<std::size_t>(table_of_[node])][stream.groups[at]];
    unsigned depth = 0;
    while (!is_leaf(node) && depth < kGroup) node = step(node, stream.window[at + depth++]);
    if (!is_leaf(node)) return static_cast<std::uint16_t>(kInner | node);
    return static_cast<std::uint16_t>(depth << 8 | static_cast<unsigned>(tree_.nodes[node].symbol));
  }

  // Moves on when a window is used up; false at the end of the block.
  bool next_window(Stream& stream) const {
    while (stream.at >= stream.end) {
      stream.at -= stream.end;
      stream.trits += stream.end;
      stream.left -= stream.end;
      stream.end = std::min(stream.left, kWindow);
      if (stream.end == 0) return false;
      if (stream.at < stream.end) load_window(stream);
    }
    return true;
  }

  // Copies the window and what symbols may reach beyond it, padded at the end of the block, and computes the
  // group that begins at each trit.
  void load_window(Stream& stream) const {
    auto& window = stream.window;
    const std::size_t count = std::min(stream.left, window.size());
    std::memcpy(window.data(), stream.trits, count);
    const std::size_t used = std::min(count + kMaxLength + 1, kAhead);
    std::fill(window.begin() + static_cast<std::ptrdiff_t>(count),
              window.begin() + static_cast<std::ptrdiff_t>(used + kGroup), padding_);
    group_codes()(window.data(), used, stream.groups.data());
  }

  const ParseTree& tree_;
  std::array<int, 3> child_ = {-1, -1, -1};  // trit + 1 -> which child
  std::int8_t padding_ = 0;
  std::vector<std::int8_t> table_of_;  // by node; -1: none
  std::vector<GroupTable> tables_;
};

// Four histograms, so that equal symbols in a row do not wait for each other's increment.
class Histogram {
 public:
  void add(const std::uint8_t* symbols, std::size_t count) {
    for (std::size_t i = 0; i < count; ++i) ++parts_[i % 4][symbols[i]];
  }
  std::vector<std::uint32_t> sum(std::size_t symbols) const {
    std::vector<std::uint32_t> result(symbols);
    for (std::size_t symbol = 0; symbol < symbols; ++symbol) {
      for (const auto& part : parts_) result[symbol] += part[symbol];
    }
    return result;
  }

 private:
  std::array<std::array<std::uint32_t, kMaxSymbols>, 4> parts_{};
};

}  // namespace

Parse parse_blocks(const ParseTree& tree, const std::int8_t* trits, std::size_t n, std::size_t block_trits) {
  Parse parse;
  parse.symbols = std::make_unique_for_overwrite<std::uint8_t[]>(n);
  const Parser parser(tree, n);
  Histogram histogram;
  Parser::Stream streams[2];
  for (std::size_t start = 0; start < n;) {
    unsigned opened = 0;
    for (; opened < 2 && start < n; ++opened, start += block_trits) {
      Parser::Stream& stream = streams[opened];
      stream.trits = trits + start;
      stream.left = std::min(block_trits, n - start);
      stream.out = parse.symbols.get() + start;
      stream.at = stream.end = 0;
    }
    if (opened == 2) {
      parser.parse(streams[0], streams[1]);
    } else {
      parser.parse(streams[0]);
    }
    for (unsigned i = 0; i < opened; ++i) {
      const std::uint8_t* symbols = parse.symbols.get() + parse.counts.size() * block_trits;
      parse.counts.push_back(static_cast<std::size_t>(streams[i].out - symbols));
      histogram.add(symbols, parse.counts.back());
    }
  }
  parse.histogram = histogram.sum(tree.leaves.size());
  return parse;
}

}  // namespace ternzip::fast
