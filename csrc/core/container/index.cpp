#include "core/container/index.hpp"

#include <algorithm>
#include <string_view>

#include "core/base/bytes.hpp"
#include "core/container/cursor.hpp"
#include "core/container/directory.hpp"
#include "core/container/records.hpp"
#include "core/container/ternary_parameters.hpp"

namespace ternzip::container {
namespace {

// How many of each the directory lists.
struct Numbers {
  std::size_t tensors, metadata, strings, extensions;
};

Numbers read_numbers(Cursor& table, std::uint64_t directory_bytes) {
  const unsigned flags = table.byte("flags");
  if (flags != 0) {
    table.fail(join("flags: expected 0, found ", hexadecimal(flags, 2),
                    ": features that this ternzip does not know: upgrade it"),
               Problem::kUnsupported);
  }
  const std::uint64_t tensors = table.varint("number of tensors", table.remaining());
  const std::uint64_t metadata = table.varint("number of metadata entries", table.remaining());
  const std::uint64_t strings = table.varint("number of codec parameters", table.remaining());
  const std::uint64_t extensions = table.varint("number of extensions", kMaxExtensions);
  const std::uint64_t listed = tensors + metadata + strings, most = most_entries(directory_bytes);
  if (listed > most) {
    table.fail(join("expected at most ", most,
                    " tensors, metadata entries and codec parameters in a directory of ", directory_bytes,
                    " bytes, found ", listed));
  }
  return {static_cast<std::size_t>(tensors), static_cast<std::size_t>(metadata),
          static_cast<std::size_t>(strings), static_cast<std::size_t>(extensions)};
}

void read_shape(Cursor& table, std::size_t dimensions, Entry& entry) {
  entry.shape.reserve(dimensions);
  std::uint64_t bytes = entry.type().size, elements = 1;
  bool fits = true;
  for (std::size_t i = 0; i < dimensions; ++i) {
    const std::uint64_t length = table.varint("shape");
    entry.shape.push_back(length);
    const std::uint64_t counted = std::max<std::uint64_t>(length, 1);
    fits = fits && counted <= kMaxTensorBytes / bytes;
    if (!fits) continue;  // the message shows the whole shape
    bytes *= counted;
    elements *= length;
  }
  if (!fits) {
    table.fail(join("shape: expected less than 2^63 bytes, found ", listed(entry.shape.data(), dimensions),
                    " of ", entry.type().name));
  }
  entry.elements = elements;
}

void read_tie(Cursor& table, std::size_t number, std::vector<Entry>& entries) {
  const std::uint64_t target = table.varint("tied tensor");
  if (target >= number || entries[static_cast<std::size_t>(target)].storage == Storage::kTied) {
    table.fail(join("tensor ", number, ": expected a tie to an earlier stored tensor, found ", target));
  }
  Entry& entry = entries[number];
  entry.tied_to = static_cast<std::size_t>(target);
  const Entry& source = entries[entry.tied_to];
  entry.dtype = source.dtype;
  entry.shape = source.shape;
  entry.elements = source.elements;
}

// Storages, types, shapes and ties.
std::vector<Entry> read_tensors(Cursor& table, std::size_t count) {
  std::vector<Entry> entries(count);
  const std::uint8_t* const storages = table.take(count, "storage");
  std::vector<std::size_t> stored;
  for (std::size_t i = 0; i < count; ++i) {
    const auto highest = static_cast<std::uint8_t>(Storage::kTernary);
    if (storages[i] > highest)
      table.fail(join("storage: expected at most ", highest, ", found ", storages[i]));
    entries[i].storage = static_cast<Storage>(storages[i]);
    if (entries[i].storage != Storage::kTied) stored.push_back(i);
  }
  const std::uint8_t* const types = table.take(stored.size(), "types");
  const std::uint8_t* const dimensions = table.take(stored.size(), "dimensions");
  for (std::size_t i = 0; i < stored.size(); ++i) {
    Entry& entry = entries[stored[i]];
    if (types[i] >= kElementTypes.size()) {
      table.fail(join("type: expected at most ", kElementTypes.size() - 1, ", found ", types[i]));
    }
    if (dimensions[i] > kMaxDimensions) {
      table.fail(join("dimensions: expected at most ", kMaxDimensions, ", found ", dimensions[i]));
    }
    entry.dtype = types[i];
    read_shape(table, dimensions[i], entry);
  }
  for (std::size_t i = 0; i < count; ++i) {
    const Entry& entry = entries[i];
    if (entry.storage == Storage::kTied) {
      read_tie(table, i, entries);
    } else if (entry.storage == Storage::kSolid && entry.bytes() > kMaxSolidTensorBytes) {
      table.fail(
          join("tensor ", i, ": expected less than ", kMaxSolidTensorBytes + 1, " bytes in a solid block"));
    } else if (entry.storage == Storage::kPlanes && entry.elements == 0) {
      table.fail(join("tensor ", i, ": expected elements, found shape ",
                      listed(entry.shape.data(), entry.shape.size())));
    }
  }
  return entries;
}

// The parameters section; returns how many bytes each string of codec parameters has.
std::vector<std::uint64_t> read_parameters(Cursor& table, std::size_t strings, Cursor& section,
                                           std::vector<Entry>& entries) {
  std::vector<std::uint64_t> lengths(strings);
  for (std::uint64_t& length : lengths) {
    length = table.varint("length of codec parameters", kMaxCodecParameterBytes);
    if (length == 0) table.fail("length of codec parameters: expected at least 1, found 0");
  }
  std::vector<std::string_view> views;
  views.reserve(strings);
  for (const std::uint64_t length : lengths) {
    views.emplace_back(reinterpret_cast<const char*>(section.take(length, "string")),
                       static_cast<std::size_t>(length));
  }
  CodecParameters parameters(std::move(views));
  for (std::size_t i = 0; i < entries.size(); ++i) {
    Entry& entry = entries[i];
    if (entry.storage != Storage::kTernary) continue;
    section.enter(join("parameters of tensor ", i));
    const std::size_t before = section.remaining();
    entry.ternary = std::make_unique<Ternary>(read_ternary(section, entry.dtype, entry.shape, parameters));
    entry.parameter_bytes = before - section.remaining();
  }
  section.enter("parameters");
  section.end();
  parameters.check(section);
  return lengths;
}

std::vector<std::uint64_t> read_lengths(Cursor& table, std::size_t count, const char* field,
                                        std::uint64_t most) {
  std::vector<std::uint64_t> lengths(count);
  for (std::uint64_t& length : lengths) length = table.varint(field, most);
  return lengths;
}

std::string read_text(Cursor& table, std::uint64_t length) {
  const auto* const bytes = reinterpret_cast<const char*>(table.take(length, "text"));
  const std::string_view text(bytes, static_cast<std::size_t>(length));
  if (!is_utf8(text)) table.fail("text: expected UTF-8");
  return std::string(text);
}

// The first of two equal names in the order of their bytes, null where there are none. Sorting takes the same
// time whatever the names are, which hashing does not.
const std::string* first_twin(std::vector<const std::string*> names) {
  const auto less = [](const std::string* a, const std::string* b) { return *a < *b; };
  const auto equal = [](const std::string* a, const std::string* b) { return *a == *b; };
  std::sort(names.begin(), names.end(), less);
  const auto found = std::adjacent_find(names.begin(), names.end(), equal);
  return found == names.end() ? nullptr : *found;
}

// Names of tensors, metadata, names of extensions: lengths first, then what is that long.
void read_texts(Cursor& table, const Numbers& numbers, Index& index) {
  const auto names = read_lengths(table, numbers.tensors, "length of a name", kMaxNameBytes);
  const auto metadata = read_lengths(table, 2 * numbers.metadata, "length of metadata", table.remaining());
  const auto extensions =
      read_lengths(table, numbers.extensions, "length of an extension's name", kMaxExtensionNameBytes);
  if (std::find(extensions.begin(), extensions.end(), 0) != extensions.end()) {
    table.fail("length of an extension's name: expected at least 1, found 0");
  }
  std::vector<const std::string*> of_tensors, keys, of_extensions;
  for (std::size_t i = 0; i < numbers.tensors; ++i) {
    index.entries[i].name = read_text(table, names[i]);
    of_tensors.push_back(&index.entries[i].name);
  }
  index.metadata.resize(numbers.metadata);
  for (std::size_t i = 0; i < numbers.metadata; ++i) {
    auto& [key, value] = index.metadata[i];
    key = read_text(table, metadata[2 * i]);
    value = read_text(table, metadata[2 * i + 1]);
    keys.push_back(&key);
  }
  for (std::size_t i = 0; i < numbers.extensions; ++i) {
    index.extensions[i].name = read_text(table, extensions[i]);
    of_extensions.push_back(&index.extensions[i].name);
  }
  if (const std::string* const twin = first_twin(std::move(of_tensors))) {
    table.fail(join("duplicate tensor name ", quoted(*twin)));
  }
  table.end();
  if (first_twin(std::move(keys)) != nullptr) table.fail("metadata: expected each key once");
  if (first_twin(std::move(of_extensions)) != nullptr) table.fail("extensions: expected each name once");
}

}  // namespace

Index read_index(const std::uint8_t* data, const Preamble& preamble) {
  const std::uint8_t* const directory = data + preamble.parameter_bytes;
  const std::vector<std::uint8_t> bytes =
      read_directory(directory, preamble.directory_bytes, preamble.index_offset + preamble.parameter_bytes);
  Cursor table(bytes.data(), bytes.size(), "directory table");
  Cursor section(data, preamble.parameter_bytes, "codec parameters", preamble.index_offset);
  Index index;
  const Numbers numbers = read_numbers(table, preamble.directory_bytes);
  index.entries = read_tensors(table, numbers.tensors);
  index.codec_parameter_bytes = read_parameters(table, numbers.strings, section, index.entries);
  index.extensions.resize(numbers.extensions);
  place_records(table, preamble.index_offset, index);
  read_texts(table, numbers, index);
  share_payload(index);
  index.by_name.resize(numbers.tensors);
  for (std::size_t i = 0; i < numbers.tensors; ++i) index.by_name[i] = i;
  std::sort(index.by_name.begin(), index.by_name.end(),
            [&](std::size_t a, std::size_t b) { return index.entries[a].name < index.entries[b].name; });
  return index;
}

}  // namespace ternzip::container
