#include "core/container/records.hpp"

#include <algorithm>

#include "core/base/bytes.hpp"

namespace ternzip::container {
namespace {

// What has records, in the order of the file: a tensor, or a solid block.
struct Owner {
  bool is_block;
  std::size_t number;
};

// A solid block is complete when the next small tensor no longer fits; the last one comes at the end.
std::vector<Owner> find_owners(Index& index) {
  std::vector<Owner> owners;
  for (std::size_t i = 0; i < index.entries.size(); ++i) {
    Entry& entry = index.entries[i];
    if (entry.storage == Storage::kTied) continue;
    if (entry.storage != Storage::kSolid) {
      owners.push_back({false, i});
      continue;
    }
    if (index.blocks.empty() || index.blocks.back().size + entry.bytes() > kMaxSolidBlockBytes) {
      if (!index.blocks.empty()) owners.push_back({true, index.blocks.size() - 1});
      index.blocks.emplace_back();
    }
    entry.block = index.blocks.size() - 1;
    index.blocks.back().members.push_back(i);
    index.blocks.back().size += entry.bytes();
  }
  if (!index.blocks.empty()) owners.push_back({true, index.blocks.size() - 1});
  return owners;
}

// How many records there are, which is bounded by the bytes there are for them: each takes one at least.
std::uint64_t count_records(const Cursor& table, std::uint64_t index_offset, const Index& index,
                            const std::vector<Owner>& owners) {
  const std::uint64_t whole = index_offset - kPreambleBytes;
  std::uint64_t space = whole, total = 0;
  for (const Owner& owner : owners) {
    const std::uint64_t count = owner.is_block ? 1 : index.entries[owner.number].record_count();
    const std::uint64_t units =
        owner.is_block ? index.blocks[owner.number].size : index.entries[owner.number].units();
    total += count;
    if (units == 0) continue;
    const std::uint64_t least = std::max(count, ceil_div(units, kMaxExpansion));
    if (least > space)
      table.fail(join("records: expected more than the ", whole, " bytes there are in the file"));
    space -= least;
  }
  return total;
}

// Takes sizes and checksums in order and lays the records end to end.
class Layer {
 public:
  Layer(const std::vector<std::uint64_t>& sizes, const std::uint8_t* checksums, const Cursor& table,
        std::uint64_t index_offset)
      : sizes_(sizes), checksums_(checksums), table_(table), index_offset_(index_offset) {}

  Record next(std::uint64_t units) {
    const std::uint64_t size = sizes_[number_];
    const std::uint64_t stored = std::max(size, ceil_div(units, kMaxExpansion));
    const Record record{offset_, size, stored, units, load_le<std::uint32_t>(checksums_ + 4 * number_)};
    ++number_;
    if (stored > index_offset_ - offset_) fail(offset_ + stored);
    offset_ += stored;
    return record;
  }
  void end() const {
    if (offset_ != index_offset_) fail(offset_);
  }

 private:
  [[noreturn]] void fail(std::uint64_t found) const {
    table_.fail(join("records: expected their end at offset ", index_offset_, ", found ", found));
  }

  const std::vector<std::uint64_t>& sizes_;
  const std::uint8_t* checksums_;
  const Cursor& table_;
  std::uint64_t index_offset_;
  std::uint64_t offset_ = kPreambleBytes;
  std::size_t number_ = 0;
};

void place_pieces(Layer& layer, std::uint64_t bytes, Entry& entry) {
  for (std::uint64_t start = 0; start < bytes; start += kMaxPlanesBytes) {
    entry.records.push_back(layer.next(std::min(kMaxPlanesBytes, bytes - start)));
  }
}

void place_chunks(Layer& layer, const Geometry& geometry, Entry& entry) {
  const Chunks chunks(geometry);
  for (std::uint64_t i = 0; i < chunks.count(); ++i) entry.records.push_back(layer.next(chunks[i].symbols()));
}

void place_entry(Layer& layer, Entry& entry) {
  entry.records.reserve(static_cast<std::size_t>(entry.record_count()));
  if (!entry.ternary) return place_pieces(layer, entry.bytes(), entry);
  for (unsigned i = 0; i < entry.ternary->level_sequences(); ++i)
    place_pieces(layer, entry.level_bytes(), entry);
  place_chunks(layer, entry.ternary->geometry, entry);
  place_chunks(layer, entry.ternary->signs_geometry(), entry);
}

void order_members(SolidBlock& block, std::vector<Entry>& entries) {
  block.ordered = block.members;
  std::stable_sort(block.ordered.begin(), block.ordered.end(),
                   [&](std::size_t a, std::size_t b) { return entries[a].dtype < entries[b].dtype; });
  std::uint64_t position = 0;
  for (const std::size_t member : block.ordered) {
    entries[member].block_offset = position;
    position += entries[member].bytes();
  }
}

}  // namespace

void place_records(Cursor& table, std::uint64_t index_offset, Index& index) {
  const std::vector<Owner> owners = find_owners(index);
  const std::uint64_t total = count_records(table, index_offset, index, owners) + index.extensions.size();
  std::vector<std::uint64_t> sizes;  // grows with the bytes of the table, whatever the total
  for (std::uint64_t i = 0; i < total; ++i) sizes.push_back(table.varint("size of a record", index_offset));
  Layer layer(sizes, table.take(4 * total, "checksums"), table, index_offset);
  for (const Owner& owner : owners) {
    if (owner.is_block) {
      SolidBlock& block = index.blocks[owner.number];
      block.record = layer.next(block.size);
    } else {
      place_entry(layer, index.entries[owner.number]);
    }
  }
  for (Extension& extension : index.extensions) extension.record = layer.next(0);
  layer.end();
  for (SolidBlock& block : index.blocks) order_members(block, index.entries);
}

void share_payload(Index& index) {
  for (const SolidBlock& block : index.blocks) {
    const std::uint64_t stored = block.record.stored, size = std::max<std::uint64_t>(block.size, 1);
    // At most 2^20 bytes of a block, and the file's size, whose product may take more than 64 bits.
    const auto part = [&](std::uint64_t bytes) {
      return stored / size * bytes + stored % size * bytes / size;
    };
    for (const std::size_t member : block.ordered) {
      Entry& entry = index.entries[member];
      entry.stored_bytes = part(entry.block_offset + entry.bytes()) - part(entry.block_offset);
    }
  }
  std::vector<std::vector<std::size_t>> users(index.codec_parameter_bytes.size());
  for (std::size_t i = 0; i < index.entries.size(); ++i) {
    Entry& entry = index.entries[i];
    if (entry.storage == Storage::kSolid) continue;
    entry.stored_bytes = entry.parameter_bytes;
    for (const Record& record : entry.records) entry.stored_bytes += record.stored;
    if (!entry.ternary) continue;
    for (const CodecUse& use : {entry.ternary->symbols, entry.ternary->signs}) {
      if (use.parameters != 0) users[use.parameters - 1].push_back(i);
    }
  }
  for (std::size_t string = 0; string < users.size(); ++string) {
    const std::uint64_t bytes = index.codec_parameter_bytes[string], count = users[string].size();
    for (std::uint64_t n = 0; n < count; ++n) {
      index.entries[users[string][static_cast<std::size_t>(n)]].stored_bytes +=
          (n + 1) * bytes / count - n * bytes / count;
    }
  }
}

}  // namespace ternzip::container
