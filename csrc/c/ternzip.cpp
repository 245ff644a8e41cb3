// The C interface: arguments are checked here, the work is the container's, and no exception passes.
#include <ternzip.h>

#include <algorithm>
#include <cstring>
#include <memory>
#include <new>
#include <stdexcept>
#include <string>
#include <vector>

#include "core/codecs/packed/packed.hpp"
#include "core/container/error.hpp"
#include "core/container/reader.hpp"
#include "core/runtime/index.hpp"

using ternzip::container::Entry;
using ternzip::container::FileError;
using ternzip::container::join;
using ternzip::container::Problem;
using ternzip::container::Reader;

struct ternzip_file {
  Reader reader;
};

namespace {

ternzip_status status_of(Problem problem) noexcept {
  switch (problem) {
    case Problem::kDamaged: return TERNZIP_ERROR_DAMAGED;
    case Problem::kUnsupported: return TERNZIP_ERROR_UNSUPPORTED;
    case Problem::kLimit: return TERNZIP_ERROR_LIMIT;
    case Problem::kSource: return TERNZIP_ERROR_READ;
    case Problem::kArgument: return TERNZIP_ERROR_ARGUMENT;
    case Problem::kNotFound: return TERNZIP_ERROR_NOT_FOUND;
    case Problem::kNotTernary: return TERNZIP_ERROR_NOT_TERNARY;
  }
  return TERNZIP_ERROR_INTERNAL;
}

ternzip_status report(ternzip_error* error, ternzip_status status, const char* message) noexcept {
  if (error != nullptr) {
    const std::size_t size = std::min(std::strlen(message), sizeof error->message - 1);
    // Some words are the system's, which speaks other languages too.
    std::transform(message, message + size, error->message,
                   [](char c) { return c >= ' ' && c <= '~' ? c : '?'; });
    error->message[size] = '\0';
    error->status = status;
  }
  return status;
}

// Runs `body` and turns what it throws into a status.
template <class Body>
ternzip_status guarded(ternzip_error* error, const Body& body) noexcept {
  try {
    body();
    return report(error, TERNZIP_OK, "");
  } catch (const FileError& problem) {
    return report(error, status_of(problem.problem()), problem.what());
  } catch (const std::bad_alloc&) {
    return report(error, TERNZIP_ERROR_MEMORY, "memory could not be allocated");
  } catch (const std::length_error&) {  // more than any container can hold
    return report(error, TERNZIP_ERROR_MEMORY, "memory could not be allocated");
  } catch (const std::exception& problem) {
    return report(error, TERNZIP_ERROR_INTERNAL, problem.what());
  } catch (...) {
    return report(error, TERNZIP_ERROR_INTERNAL, "unknown exception");
  }
}

void need(const void* pointer, const char* name) {
  if (pointer == nullptr)
    throw FileError(Problem::kArgument, join(name, ": expected an address, found NULL"));
}

const Reader& reader_of(const ternzip_file* file) {
  need(file, "file");
  return file->reader;
}

// Whether a buffer has room for what goes there.
void need_room(const void* out, const char* name, std::size_t found, std::uint64_t expected) {
  if (found < expected) {
    throw FileError(Problem::kArgument,
                    join(name, ": expected a buffer of at least ", expected, " bytes, found ", found));
  }
  if (expected != 0) need(out, name);
}

const Entry& entry_of(const Reader& reader, std::size_t number) {
  reader.stored(number);  // throws where there is none
  return reader.index().entries[number];
}

ternzip_text text_of(const std::string& text) noexcept { return {text.c_str(), text.size()}; }

void describe(const Reader& reader, std::size_t number, ternzip_tensor_info& info) {
  const Entry& entry = entry_of(reader, number);
  const Entry& stored = reader.stored(number);
  info = {};
  info.name = text_of(entry.name);
  info.dtype = static_cast<ternzip_dtype>(entry.dtype);
  info.item_bytes = entry.type().size;
  info.dimensions = entry.shape.size();
  info.shape = entry.shape.data();
  info.elements = entry.elements;
  info.bytes = entry.bytes();
  info.stored_bytes = entry.stored_bytes;
  info.storage = static_cast<ternzip_storage>(entry.storage);
  info.tied_to = &stored == &entry ? number : entry.tied_to;
  info.is_readable = reader.is_readable(number) ? 1 : 0;
  info.codec = TERNZIP_CODEC_NONE;
  if (!stored.ternary) return;
  const auto& ternary = *stored.ternary;
  info.is_ternary = 1;
  info.codec = ternary.symbols.is_used ? ternary.symbols.code : static_cast<int>(TERNZIP_CODEC_CONSTANT);
  info.negative = ternary.counts.negative;
  info.zero = ternary.counts.zero;
  info.positive = ternary.counts.positive;
  info.negative_zeros = ternary.negative_zeros;
  info.level_blocks = ternary.grid.blocks();
  info.level_rows = ternary.grid.height;
  info.level_columns = ternary.grid.width;
}

ternzip::IndexShape shape_of(const ternzip_index_layout& layout) noexcept {
  return {layout.rows, layout.groups, layout.channels, layout.taps, layout.block_channels};
}

// Blocks of about as many weights as the runtime of the Python package takes: as many blocks as come nearest
// to that, an even number where two do.
std::size_t usual_block_channels(std::size_t channels, std::size_t taps) noexcept {
  constexpr std::size_t kBlockCodes = 180;
  const std::size_t whole = channels * taps / kBlockCodes, rest = channels * taps % kBlockCodes;
  const bool rounds_up = rest > kBlockCodes / 2 || (rest == kBlockCodes / 2 && whole % 2 != 0);
  const std::size_t blocks = std::max<std::size_t>(1, whole + (rounds_up ? 1 : 0));
  return (channels + blocks - 1) / blocks;
}

ternzip_index_layout layout_of(const Reader& reader, std::size_t number, std::size_t groups,
                               std::size_t block_channels) {
  constexpr std::uint64_t kMostWeights = (std::uint64_t{1} << 31) - 1;
  const Entry& entry = reader.ternary(number);
  const auto& ternary = *entry.ternary;
  if (entry.shape.size() < 2 || entry.elements > kMostWeights) {
    throw FileError(Problem::kArgument,
                    join("index: expected two dimensions or more, and fewer than 2^31 weights, found ",
                         ternzip::container::listed(entry.shape.data(), entry.shape.size())));
  }
  ternzip_index_layout layout{};
  layout.rows = static_cast<std::size_t>(ternary.geometry.rows);
  layout.groups = groups;
  layout.channels = static_cast<std::size_t>(ternary.geometry.cols);
  layout.taps = static_cast<std::size_t>(ternary.geometry.kernel);
  layout.block_channels =
      block_channels != 0 ? block_channels : usual_block_channels(layout.channels, layout.taps);
  if (!ternzip::is_valid_shape(shape_of(layout))) {
    throw FileError(Problem::kArgument,
                    join("index: expected groups that divide ", layout.rows, " rows and blocks of at most ",
                         ternzip::kMaxBlockCodes, " weights, found ", groups, " groups, blocks of ",
                         layout.block_channels, " x ", layout.taps, " weights"));
  }
  layout.codes = static_cast<std::size_t>(ternary.counts.negative + ternary.counts.positive);
  layout.starts = shape_of(layout).lists() + 1;
  return layout;
}

ternzip_status open(std::unique_ptr<ternzip::container::Source> (*make)(const void*, std::size_t),
                    const void* from, std::size_t size, std::uint64_t max_bytes, ternzip_file** file,
                    ternzip_error* error) noexcept {
  if (file != nullptr) *file = nullptr;
  return guarded(error, [&] {
    need(file, "file");
    *file = new ternzip_file{Reader(make(from, size), max_bytes)};
  });
}

}  // namespace

const char* ternzip_status_name(ternzip_status status) {
  switch (status) {
    case TERNZIP_OK: return "TERNZIP_OK";
    case TERNZIP_ERROR_ARGUMENT: return "TERNZIP_ERROR_ARGUMENT";
    case TERNZIP_ERROR_NOT_FOUND: return "TERNZIP_ERROR_NOT_FOUND";
    case TERNZIP_ERROR_NOT_TERNARY: return "TERNZIP_ERROR_NOT_TERNARY";
    case TERNZIP_ERROR_READ: return "TERNZIP_ERROR_READ";
    case TERNZIP_ERROR_DAMAGED: return "TERNZIP_ERROR_DAMAGED";
    case TERNZIP_ERROR_UNSUPPORTED: return "TERNZIP_ERROR_UNSUPPORTED";
    case TERNZIP_ERROR_LIMIT: return "TERNZIP_ERROR_LIMIT";
    case TERNZIP_ERROR_MEMORY: return "TERNZIP_ERROR_MEMORY";
    case TERNZIP_ERROR_INTERNAL: return "TERNZIP_ERROR_INTERNAL";
  }
  return "unknown status";
}

const char* ternzip_version(void) { return TERNZIP_VERSION; }

const char* ternzip_dtype_name(ternzip_dtype dtype) {
  const auto code = static_cast<std::size_t>(dtype);
  return code < ternzip::container::kElementTypes.size() ? ternzip::container::kElementTypes[code].name
                                                         : "unknown";
}

ternzip_status ternzip_open(const char* path, uint64_t max_bytes, ternzip_file** file, ternzip_error* error) {
  const auto make = [](const void* name, std::size_t) {
    need(name, "path");
    return ternzip::container::open_file(static_cast<const char*>(name));
  };
  return open(make, path, 0, max_bytes, file, error);
}

ternzip_status ternzip_open_memory(const void* data, size_t size, uint64_t max_bytes, ternzip_file** file,
                                   ternzip_error* error) {
  const auto make = [](const void* bytes, std::size_t count) {
    if (count != 0) need(bytes, "data");
    return ternzip::container::open_memory(bytes, count);
  };
  return open(make, data, size, max_bytes, file, error);
}

void ternzip_close(ternzip_file* file) { delete file; }

uint64_t ternzip_decoded_bytes(const ternzip_file* file) {
  return file == nullptr ? 0 : file->reader.decoded_bytes();
}

ternzip_status ternzip_verify(const ternzip_file* file, ternzip_error* error) {
  return guarded(error, [&] { reader_of(file).verify(); });
}

size_t ternzip_tensor_count(const ternzip_file* file) {
  return file == nullptr ? 0 : file->reader.index().entries.size();
}

ternzip_status ternzip_find(const ternzip_file* file, const char* name, size_t name_size, size_t* number,
                            ternzip_error* error) {
  return guarded(error, [&] {
    const Reader& reader = reader_of(file);
    if (name_size != 0) need(name, "name");
    need(number, "number");
    *number = reader.find(name_size == 0 ? std::string_view() : std::string_view(name, name_size));
  });
}

ternzip_status ternzip_tensor(const ternzip_file* file, size_t number, ternzip_tensor_info* info,
                              ternzip_error* error) {
  return guarded(error, [&] {
    const Reader& reader = reader_of(file);
    need(info, "info");
    describe(reader, number, *info);
  });
}

ternzip_status ternzip_decode(const ternzip_file* file, size_t number, void* out, size_t out_bytes,
                              ternzip_error* error) {
  return guarded(error, [&] {
    const Reader& reader = reader_of(file);
    need_room(out, "out", out_bytes, reader.stored(number).bytes());
    reader.read(number, out);
  });
}

ternzip_status ternzip_decode_trits(const ternzip_file* file, size_t number, int8_t* out, size_t out_bytes,
                                    ternzip_error* error) {
  return guarded(error, [&] {
    const Reader& reader = reader_of(file);
    need_room(out, "out", out_bytes, reader.ternary(number).elements);
    reader.read_trits(number, out);
  });
}

uint64_t ternzip_packed_bytes(uint64_t elements) { return elements / 5 + (elements % 5 != 0 ? 1 : 0); }

ternzip_status ternzip_decode_packed_trits(const ternzip_file* file, size_t number, uint8_t* out,
                                           size_t out_bytes, ternzip_error* error) {
  return guarded(error, [&] {
    const Reader& reader = reader_of(file);
    need_room(out, "out", out_bytes, ternzip_packed_bytes(reader.ternary(number).elements));
    const std::vector<std::int8_t> trits = reader.read_trits(number);
    ternzip::pack_trits(trits.data(), trits.size(), out);
  });
}

ternzip_status ternzip_decode_levels(const ternzip_file* file, size_t number, void* negative, void* positive,
                                     size_t out_bytes, ternzip_error* error) {
  return guarded(error, [&] {
    const Reader& reader = reader_of(file);
    const Entry& entry = reader.ternary(number);
    const std::uint64_t bytes = entry.ternary->grid.blocks() * entry.type().size;
    need_room(negative, "negative", out_bytes, bytes);
    need_room(positive, "positive", out_bytes, bytes);
    const ternzip::container::Levels levels = reader.read_levels(number);
    std::copy(levels.negative.begin(), levels.negative.end(), static_cast<std::uint8_t*>(negative));
    std::copy(levels.positive.begin(), levels.positive.end(), static_cast<std::uint8_t*>(positive));
  });
}

ternzip_status ternzip_index(const ternzip_file* file, size_t number, size_t groups, size_t block_channels,
                             ternzip_index_layout* layout, ternzip_error* error) {
  return guarded(error, [&] {
    const Reader& reader = reader_of(file);
    need(layout, "layout");
    *layout = layout_of(reader, number, groups, block_channels);
  });
}

ternzip_status ternzip_decode_index(const ternzip_file* file, size_t number,
                                    const ternzip_index_layout* layout, uint16_t* codes, uint32_t* starts,
                                    ternzip_error* error) {
  return guarded(error, [&] {
    const Reader& reader = reader_of(file);
    need(layout, "layout");
    const ternzip_index_layout own = layout_of(reader, number, layout->groups, layout->block_channels);
    if (own.rows != layout->rows || own.channels != layout->channels || own.taps != layout->taps ||
        own.codes != layout->codes || own.starts != layout->starts) {
      throw FileError(Problem::kArgument, "layout: expected the one that ternzip_index gave for this tensor");
    }
    if (own.codes != 0) need(codes, "codes");
    need(starts, "starts");
    const std::vector<std::int8_t> trits = reader.read_trits(number);
    ternzip::build_index(trits.data(), shape_of(own), codes, starts);
  });
}

size_t ternzip_metadata_count(const ternzip_file* file) {
  return file == nullptr ? 0 : file->reader.index().metadata.size();
}

ternzip_status ternzip_metadata(const ternzip_file* file, size_t number, ternzip_text* key,
                                ternzip_text* value, ternzip_error* error) {
  return guarded(error, [&] {
    const auto& metadata = reader_of(file).index().metadata;
    need(key, "key");
    need(value, "value");
    if (number >= metadata.size()) {
      throw FileError(Problem::kNotFound,
                      join("no entry number ", number, " of the metadata among ", metadata.size()));
    }
    *key = text_of(metadata[number].first);
    *value = text_of(metadata[number].second);
  });
}

size_t ternzip_extension_count(const ternzip_file* file) {
  return file == nullptr ? 0 : file->reader.index().extensions.size();
}

ternzip_status ternzip_extension(const ternzip_file* file, size_t number, ternzip_text* name, uint64_t* bytes,
                                 ternzip_error* error) {
  return guarded(error, [&] {
    const Reader& reader = reader_of(file);
    need(name, "name");
    need(bytes, "bytes");
    const auto& extension = reader.extension(number);
    *name = text_of(extension.name);
    *bytes = extension.record.size;
  });
}

ternzip_status ternzip_read_extension(const ternzip_file* file, size_t number, void* out, size_t out_bytes,
                                      ternzip_error* error) {
  return guarded(error, [&] {
    const Reader& reader = reader_of(file);
    need_room(out, "out", out_bytes, reader.extension(number).record.size);
    reader.read_extension(number, static_cast<std::uint8_t*>(out));
  });
}
