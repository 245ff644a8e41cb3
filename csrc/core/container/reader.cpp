#include "core/container/reader.hpp"

#include <algorithm>
#include <bit>
#include <cstring>
#include <limits>
#include <new>
#include <optional>

#include "core/base/crc32.hpp"
#include "core/container/block.hpp"
#include "core/container/error.hpp"
#include "core/container/symbols.hpp"
#include "core/tensor/element_writer.hpp"
#include "core/tensor/patterns.hpp"
#include "core/tensor/ternary_tensor.hpp"

namespace ternzip::container {
namespace {

static_assert(std::endian::native == std::endian::little,
              "elements and levels lie in files as they do in memory");

std::size_t to_size(std::uint64_t bytes) {
  if (bytes > std::numeric_limits<std::size_t>::max()) throw std::bad_alloc();
  return static_cast<std::size_t>(bytes);
}

// Calls `part`; what it throws is said to be of that tensor, at that record.
template <class Part>
auto located(const std::string& owner, const Record* record, const Part& part) {
  try {
    return part();
  } catch (const FileError& error) {
    throw error.at(record == nullptr ? owner : join(owner, ": offset ", record->offset));
  }
}

std::uint64_t level_bytes(const Entry& entry) { return 2 * entry.ternary->grid.blocks() * entry.type().size; }

// What is decoded of a tensor for its trits: these, or its levels in blocks, which may be larger.
std::uint64_t bytes_as_trits(const Entry& entry) {
  return entry.ternary->grid.blocks() > 1 ? std::max(entry.elements, level_bytes(entry)) : entry.elements;
}

std::string owner_of(const Entry& entry) { return "tensor " + quoted(entry.name); }

const Record* first_record(const Entry& entry) {
  return entry.records.empty() ? nullptr : entry.records.data();
}

void check_counts(const char* what, const TritCounts& expected, const CheckedTritCounts& found) {
  if (found.negative == expected.negative && found.zero == expected.zero &&
      found.positive == expected.positive && found.invalid == 0) {
    return;
  }
  const auto shown = [](const TritCounts& c) {
    return join("(", c.negative, ", ", c.zero, ", ", c.positive, ")");
  };
  throw FileError(Problem::kDamaged,
                  join(what, " -1, 0, +1: expected ", shown(expected), ", found ", shown(found)));
}

}  // namespace

Reader::Reader(std::unique_ptr<Source> source, std::uint64_t max_bytes, Checksums checksums)
    : source_(std::move(source)), max_bytes_(max_bytes), checksums_(checksums) {
  const std::uint64_t size = source_->size();
  const Bytes head = source_->read(0, std::min<std::uint64_t>(size, kPreambleBytes));
  const Preamble preamble = read_preamble(head.data(), head.size(), size, checksums);
  const Bytes index = source_->read(preamble.index_offset, size - preamble.index_offset);
  const std::uint32_t crc = crc32(index.data(), index.size());
  if (crc != preamble.index_crc && checksums == Checksums::kChecked) {
    throw FileError(Problem::kDamaged,
                    join("offset ", preamble.index_offset, ": index checksum: expected ",
                         hexadecimal(preamble.index_crc, 8), ", found ", hexadecimal(crc, 8)));
  }
  index_ = read_index(index.data(), preamble);
}

std::uint64_t Reader::decoded_bytes() const noexcept {
  constexpr std::uint64_t kMost = std::numeric_limits<std::uint64_t>::max();
  std::uint64_t total = 0;
  for (const Entry& entry : index_.entries) {
    if (entry.storage != Storage::kTied)
      total = entry.bytes() > kMost - total ? kMost : total + entry.bytes();
  }
  return total;
}

std::size_t Reader::find(std::string_view name) const {
  const auto before = [&](std::size_t number, std::string_view wanted) {
    return index_.entries[number].name < wanted;
  };
  const auto found = std::lower_bound(index_.by_name.begin(), index_.by_name.end(), name, before);
  if (found == index_.by_name.end() || index_.entries[*found].name != name) {
    throw FileError(Problem::kNotFound, join("no tensor ", quoted(name), " among ", index_.entries.size()));
  }
  return *found;
}

const Entry& Reader::stored(std::size_t number) const {
  if (number >= index_.entries.size()) {
    throw FileError(Problem::kNotFound, join("no tensor number ", number, " among ", index_.entries.size()));
  }
  const Entry& entry = index_.entries[number];
  return entry.storage == Storage::kTied ? index_.entries[entry.tied_to] : entry;
}

const Entry& Reader::ternary(std::size_t number) const {
  const Entry& entry = stored(number);
  if (!entry.ternary) {
    throw FileError(Problem::kNotTernary, join("tensor ", quoted(index_.entries[number].name),
                                               ": expected a ternary tensor, found other values"));
  }
  return entry;
}

void Reader::check_limit(const std::string& what, std::uint64_t bytes) const {
  if (bytes > max_bytes_) {
    throw FileError(Problem::kLimit,
                    join(what, ": expected at most ", max_bytes_, " bytes in memory, found ", bytes));
  }
}

void Reader::check_codecs(const Entry& entry) const {
  for (const CodecUse& use : {entry.ternary->symbols, entry.ternary->signs}) {
    if (!use.is_used) continue;
    const std::uint64_t parameters =
        use.parameters == 0 ? 0 : index_.codec_parameter_bytes[use.parameters - 1];
    if (const auto problem = codec_problem(use.code, parameters)) {
      throw FileError(Problem::kUnsupported, join(owner_of(entry), ": ", *problem));
    }
  }
}

bool Reader::is_readable(std::size_t number) const {
  const Entry& entry = stored(number);
  if (!entry.ternary) return true;
  try {
    check_codecs(entry);
  } catch (const FileError&) {
    return false;
  }
  return true;
}

// The checked bytes of a record, without the zeros it may have been filled up with.
Bytes Reader::payload(const Record& record) const {
  Bytes bytes = source_->read(record.offset, record.stored);
  const std::uint32_t crc = crc32(bytes.data(), bytes.size());
  if (crc != record.crc && checksums_ == Checksums::kChecked) {
    throw FileError(Problem::kDamaged,
                    join("checksum: expected ", hexadecimal(record.crc, 8), ", found ", hexadecimal(crc, 8)));
  }
  const std::size_t size = static_cast<std::size_t>(record.size);
  if (std::any_of(bytes.data() + size, bytes.data() + bytes.size(),
                  [](std::uint8_t byte) { return byte != 0; })) {
    throw FileError(Problem::kDamaged, join("expected zeros after the first ", size, " bytes of the record"));
  }
  bytes.shorten(size);
  return bytes;
}

void Reader::read_planes(const Entry& entry, std::uint8_t* out) const {
  for (const Record& record : entry.records) {
    located(owner_of(entry), &record, [&] {
      const Bytes block = payload(record);
      const auto bytes = static_cast<std::size_t>(record.units);
      decode_block(block.data(), block.size(), {{bytes, entry.type().plane_width}}, out);
      out += bytes;
    });
  }
}

std::shared_ptr<const Reader::DecodedBlock> Reader::solid_block(std::size_t number) const {
  {
    const std::lock_guard lock(cache_mutex_);
    if (cache_ && cache_->number == number) return cache_;
  }
  const SolidBlock& block = index_.blocks[number];
  std::vector<Run> runs;
  int dtype = -1;
  for (const std::size_t member : block.ordered) {
    const Entry& entry = index_.entries[member];
    if (entry.bytes() == 0) continue;
    if (entry.dtype != dtype) runs.push_back({0, entry.type().plane_width});
    dtype = entry.dtype;
    runs.back().bytes += static_cast<std::size_t>(entry.bytes());
  }
  const auto decoded = std::make_shared<DecodedBlock>();
  decoded->number = number;
  decoded->bytes.resize(static_cast<std::size_t>(block.size));
  const std::string& first = index_.entries[block.members[0]].name;
  located(join("solid block of ", block.members.size(), " tensors from ", quoted(first), " on"),
          &block.record, [&] {
            const Bytes stored = payload(block.record);
            decode_block(stored.data(), stored.size(), runs, decoded->bytes.data());
          });
  const std::lock_guard lock(cache_mutex_);
  cache_ = decoded;
  return decoded;
}

void Reader::read_solid(const Entry& entry, std::uint8_t* out) const {
  const auto block = solid_block(entry.block);
  std::copy_n(block->bytes.data() + entry.block_offset, static_cast<std::size_t>(entry.bytes()), out);
}

Levels Reader::levels_of(const Entry& entry) const {
  const Ternary& ternary = *entry.ternary;
  const std::size_t width = entry.type().size, bytes = to_size(ternary.grid.blocks() * width);
  Levels levels{std::vector<std::uint8_t>(bytes), std::vector<std::uint8_t>(bytes)};
  if (ternary.grid.blocks() == 1) {
    store_pattern(levels.negative.data(), 0, width, ternary.negative_level);
    store_pattern(levels.positive.data(), 0, width, ternary.positive_level);
    return levels;
  }
  const StoredLevels stored{ternary.counts.negative != 0, ternary.counts.positive != 0, ternary.is_symmetric};
  auto record = entry.records.begin();
  const auto read_sequence = [&](std::vector<std::uint8_t>& sequence) {
    for (std::size_t start = 0; start < bytes; ++record) {
      const auto piece = static_cast<std::size_t>(record->units);
      located(owner_of(entry), &*record, [&] {
        const Bytes block = payload(*record);
        decode_block(block.data(), block.size(), {{piece, entry.type().plane_width}},
                     sequence.data() + start);
      });
      start += piece;
    }
  };
  if (stored.negative) read_sequence(levels.negative);
  if (stored.positive && !stored.symmetric) read_sequence(levels.positive);
  located(owner_of(entry), first_record(entry), [&] { complete_levels(entry.dtype, stored, levels); });
  return levels;
}

// The symbols as elements of a type, +0 for zeros; `levels` are of that type.
void Reader::decode_trits(const Entry& entry, int dtype, const Levels& levels, void* out) const {
  const Ternary& ternary = *entry.ternary;
  Format format{};
  format_of(dtype, format);
  const LevelGrid grid{to_size(ternary.grid.row_size), to_size(ternary.grid.height),
                       to_size(ternary.grid.width)};
  ElementWriter writer(format, levels.negative.data(), levels.positive.data(), grid, 0, out);
  const Chunks chunks(ternary.geometry);
  auto record = entry.records.begin() + static_cast<std::ptrdiff_t>(entry.level_records());
  for (std::uint64_t i = 0; i < chunks.count(); ++i, ++record) {
    located(owner_of(entry), &*record, [&] {
      const Bytes bytes = payload(*record);
      decode_symbols({bytes.data(), bytes.size(), chunks[i], ternary.counts, ternary.symbols}, writer);
    });
  }
  located(owner_of(entry), first_record(entry), [&] {
    check_counts("symbols", ternary.counts, writer.counts());
    if (writer.missing_level_block() !=
        ElementWriter::kNoBlock) {  // the symbol would have come out as a zero
      throw FileError(Problem::kDamaged,
                      join("block ", writer.missing_level_block(), " of levels: expected no symbol ",
                           writer.missing_level_symbol() < 0 ? "-1" : "+1", " without a level"));
    }
  });
}

void Reader::restore_zero_signs(const Entry& entry, void* out) const {
  const Ternary& ternary = *entry.ternary;
  if (ternary.negative_zeros == 0) return;
  std::vector<std::int8_t> signs(to_size(ternary.counts.zero), std::int8_t{-1});
  if (ternary.stores_signs()) {
    const Chunks chunks(ternary.signs_geometry());
    const TritCounts counts{ternary.negative_zeros, 0, ternary.counts.zero - ternary.negative_zeros};
    auto record = entry.records.end() - static_cast<std::ptrdiff_t>(chunks.count());
    std::int8_t* to = signs.data();
    for (std::uint64_t i = 0; i < chunks.count(); to += record->units, ++i, ++record) {
      located(owner_of(entry), &*record, [&] {
        const Bytes bytes = payload(*record);
        decode_symbols({bytes.data(), bytes.size(), chunks[i], counts, ternary.signs}, to);
      });
    }
    located(owner_of(entry), first_record(entry),
            [&] { check_counts("signs of zeros", counts, count_trits(signs.data(), signs.size())); });
  }
  Format format{};
  format_of(entry.dtype, format);
  if (!apply_zero_signs(out, to_size(entry.elements), format, signs.data(), signs.size())) {
    throw std::logic_error("the number of zeros was checked, and the type has a negative zero");
  }
}

void Reader::read(std::size_t number, void* out) const {
  const Entry& entry = stored(number);
  check_limit("tensor " + quoted(index_.entries[number].name), entry.bytes());
  auto* const bytes = static_cast<std::uint8_t*>(out);
  if (entry.storage == Storage::kSolid) return read_solid(entry, bytes);
  if (entry.storage == Storage::kPlanes) return read_planes(entry, bytes);
  check_codecs(entry);
  decode_trits(entry, entry.dtype, levels_of(entry), out);
  restore_zero_signs(entry, out);
}

void Reader::read_trits(std::size_t number, std::int8_t* out) const {
  const Entry& entry = ternary(number);
  check_limit("tensor " + quoted(index_.entries[number].name), bytes_as_trits(entry));
  check_codecs(entry);
  // Levels of -1 and +1, but in blocks without one, whose symbol must not occur.
  Levels levels = levels_of(entry);
  const std::size_t width = entry.type().size, blocks = levels.negative.size() / width;
  for (std::size_t i = 0; i < blocks; ++i) {
    levels.negative[i] = load_pattern(levels.negative.data(), i, width) != 0 ? 0xFF : 0;
    levels.positive[i] = load_pattern(levels.positive.data(), i, width) != 0 ? 1 : 0;
  }
  decode_trits(entry, static_cast<int>(DType::kInt8), levels, out);
}

Levels Reader::read_levels(std::size_t number) const {
  const Entry& entry = ternary(number);
  check_limit("levels of tensor " + quoted(index_.entries[number].name), level_bytes(entry));
  return levels_of(entry);
}

std::vector<std::int8_t> Reader::read_trits(std::size_t number) const {
  const Entry& entry = ternary(number);
  check_limit("tensor " + quoted(index_.entries[number].name), bytes_as_trits(entry));
  check_codecs(entry);
  std::vector<std::int8_t> trits(to_size(entry.elements));
  read_trits(number, trits.data());
  return trits;
}

const Extension& Reader::extension(std::size_t number) const {
  if (number >= index_.extensions.size()) {
    throw FileError(Problem::kNotFound,
                    join("no extension number ", number, " among ", index_.extensions.size()));
  }
  return index_.extensions[number];
}

void Reader::read_extension(std::size_t number, std::uint8_t* out) const {
  const Extension& wanted = extension(number);
  const std::string owner = "extension " + quoted(wanted.name);
  check_limit(owner, wanted.record.size);
  located(owner, &wanted.record, [&] {
    const Bytes bytes = payload(wanted.record);
    std::copy_n(bytes.data(), bytes.size(), out);
  });
}

void Reader::verify() const {
  check_limit("all tensors", decoded_bytes());
  std::vector<std::uint8_t> bytes;
  for (std::size_t i = 0; i < index_.entries.size(); ++i) {
    const Entry& entry = index_.entries[i];
    if (entry.storage == Storage::kTied) continue;
    if (entry.ternary) check_codecs(entry);
    bytes.resize(to_size(entry.bytes()));
    read(i, bytes.data());
  }
  for (std::size_t i = 0; i < index_.extensions.size(); ++i) {
    bytes.resize(to_size(index_.extensions[i].record.size));
    read_extension(i, bytes.data());
  }
}

}  // namespace ternzip::container
