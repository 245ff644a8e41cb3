// Whole files: any bytes, through the C interface; and through the reader that is behind it with checksums
// passed over, so that inputs get to what these protect. What is read agrees: elements with symbols and
// levels, index lists with symbols.
#include <ternzip.h>

#include <memory>
#include <string>

#include "core/container/error.hpp"
#include "core/container/reader.hpp"
#include "core/tensor/dtype.hpp"
#include "core/tensor/element_writer.hpp"
#include "core/tensor/ternary_tensor.hpp"
#include "fuzz/input.hpp"

namespace {

using ternzip::container::Entry;
using ternzip::container::FileError;
using ternzip::container::Reader;
using ternzip::fuzz::require;

constexpr std::uint64_t kMostBytes = 1 << 17;  // a tensor may be larger, but is not asked for

void require_failure(ternzip_status status, const ternzip_error& error) {
  require(error.status == status, "an error has the status that is returned");
  require((status == TERNZIP_OK) == (error.message[0] == '\0'), "errors have messages");
  require(status != TERNZIP_ERROR_INTERNAL, "the library has no faults");
}

void read_lists(const ternzip_file* file, std::size_t number) {
  ternzip_error error;
  ternzip_index_layout layout;
  ternzip_status status = ternzip_index(file, number, 1, 0, &layout, &error);
  require_failure(status, error);
  if (status != TERNZIP_OK || layout.codes > kMostBytes || layout.starts > kMostBytes) return;
  const std::unique_ptr<std::uint16_t[]> codes(new std::uint16_t[layout.codes]);
  const std::unique_ptr<std::uint32_t[]> starts(new std::uint32_t[layout.starts]);
  status = ternzip_decode_index(file, number, &layout, codes.get(), starts.get(), &error);
  require_failure(status, error);
  if (status == TERNZIP_OK) require(starts[layout.starts - 1] == layout.codes, "every weight has a code");
}

void read_tensor(const ternzip_file* file, std::size_t number) {
  ternzip_error error;
  ternzip_tensor_info info;
  require(ternzip_tensor(file, number, &info, &error) == TERNZIP_OK, "every number has a tensor");
  std::size_t found = 0;
  const ternzip_status status = ternzip_find(file, info.name.data, info.name.size, &found, &error);
  require_failure(status, error);
  require(status == TERNZIP_ERROR_MEMORY || (status == TERNZIP_OK && found == number), "every name is found");
  if (info.bytes > kMostBytes) return;
  const std::unique_ptr<std::uint8_t[]> out(new std::uint8_t[static_cast<std::size_t>(info.bytes)]);
  require_failure(ternzip_decode(file, number, out.get(), static_cast<std::size_t>(info.bytes), &error),
                  error);
  if (info.is_ternary) read_lists(file, number);
}

void through_c(const std::uint8_t* data, std::size_t size) {
  ternzip_error error;
  ternzip_file* file = nullptr;
  const ternzip_status status = ternzip_open_memory(data, size, kMostBytes, &file, &error);
  require_failure(status, error);
  require((status == TERNZIP_OK) == (file != nullptr), "there is a file, or an error");
  const std::unique_ptr<ternzip_file, void (*)(ternzip_file*)> closing(file, ternzip_close);
  if (status != TERNZIP_OK) return;
  for (std::size_t i = 0; i < ternzip_tensor_count(file); ++i) read_tensor(file, i);
  require_failure(ternzip_verify(file, &error), error);
}

// What a ternary tensor should be, from its symbols and levels; signs of zeros apart.
void check_ternary(const Reader& reader, std::size_t number, const std::vector<std::uint8_t>& elements) {
  const Entry& entry = reader.stored(number);
  const std::vector<std::int8_t> trits = reader.read_trits(number);
  const ternzip::container::Levels levels = reader.read_levels(number);
  const auto& grid = entry.ternary->grid;
  ternzip::Format format{};
  require(ternzip::format_of(entry.dtype, format), "only some types are ternary");
  std::vector<std::uint8_t> expected(elements.size());
  ternzip::ElementWriter writer(format, levels.negative.data(), levels.positive.data(),
                                {grid.row_size, grid.height, grid.width}, 0, expected.data());
  writer.write(trits.data(), trits.size());
  require(writer.counts().invalid == 0, "symbols are trits");
  require(writer.missing_level_block() == ternzip::ElementWriter::kNoBlock, "symbols have levels");
  std::vector<std::int8_t> found(trits.size());
  ternzip::extract_trits(elements.data(), found.size(), format, found.data(), 1);
  require(found == trits, "elements have the signs of the symbols");
  if (entry.ternary->negative_zeros == 0) require(expected == elements, "elements are levels");
}

void through_reader(const std::uint8_t* data, std::size_t size) {
  const Reader reader(ternzip::container::open_memory(data, size), kMostBytes,
                      ternzip::container::Checksums::kIgnored);
  const auto& index = reader.index();
  for (std::size_t i = 0; i < index.entries.size(); ++i) {
    if (index.entries[i].bytes() > kMostBytes) continue;
    try {
      std::vector<std::uint8_t> elements(static_cast<std::size_t>(index.entries[i].bytes()));
      reader.read(i, elements.data());
      if (reader.stored(i).ternary) check_ternary(reader, i, elements);
    } catch (const FileError& error) {
      require(std::string(error.what()).find('\n') == std::string::npos, "messages are of one line");
    }
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  through_c(data, size);
  try {
    through_reader(data, size);
  } catch (const FileError&) {
    // Refused.
  }
  return 0;
}
