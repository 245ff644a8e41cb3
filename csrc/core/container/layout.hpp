// The parts of a file as the index describes them. Everything that can be derived is not stored: how many
// records a tensor has, and how many symbols each holds, follow from its shape; where each lies, from the
// sizes before it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "core/base/trit_counts.hpp"
#include "core/container/element_types.hpp"
#include "core/container/limits.hpp"

namespace ternzip::container {

// A tensor as codecs see it: dimension 0, dimension 1, the product of the others. One of fewer dimensions is
// a row.
struct Geometry {
  std::uint64_t rows = 1, cols = 0, kernel = 1;
  std::uint64_t symbols() const noexcept { return rows * cols * kernel; }
  std::uint64_t row_size() const noexcept { return cols * kernel; }
};
Geometry geometry_of(const std::vector<std::uint64_t>& shape) noexcept;

// How symbols are cut into chunks that decode alone: even shares of whole rows or, where a row is larger than
// a chunk may be, of symbols.
class Chunks {
 public:
  explicit Chunks(const Geometry& whole) noexcept;
  std::uint64_t count() const noexcept { return count_; }
  Geometry operator[](std::uint64_t number) const noexcept;

 private:
  Geometry whole_;
  bool as_vector_ = false;
  std::uint64_t units_ = 0, share_ = 1, count_ = 0;
};

// A stretch of the file that is read alone.
struct Record {
  std::uint64_t offset = 0;
  std::uint64_t size = 0;    // bytes its codec wrote
  std::uint64_t stored = 0;  // bytes in the file: `size`, or more zeros where that was too few for its units
  std::uint64_t units = 0;   // symbols or bytes that it stands for
  std::uint32_t crc = 0;     // of the stored bytes
};

enum class Storage : std::uint8_t { kTied = 0, kSolid = 1, kPlanes = 2, kTernary = 3 };

// Blocks that have levels of their own: `height` rows by `width` elements of a row.
struct Grid {
  std::uint64_t rows = 1, row_size = 1, height = 1, width = 1;
  std::uint64_t blocks() const noexcept { return ceil_div(rows, height) * ceil_div(row_size, width); }
};

// Which codec holds symbols, by its code in the file, and with which parameters: a number from 1, or 0 for
// none.
struct CodecUse {
  bool is_used = false;
  std::uint8_t code = 0;
  std::size_t parameters = 0;
};

// The parameters of a ternary tensor.
struct Ternary {
  Geometry geometry;
  Grid grid;
  bool is_symmetric = false;         // each positive level is the opposite of the negative one
  std::uint64_t negative_level = 0;  // bits of the levels of a single block; 0 where it does not occur
  std::uint64_t positive_level = 0;
  TritCounts counts;
  std::uint64_t negative_zeros = 0;  // of counts.zero
  CodecUse symbols;
  CodecUse signs;

  // Sequences of levels in records of their own, one level for each block of the grid.
  unsigned level_sequences() const noexcept;
  bool stores_signs() const noexcept { return negative_zeros != 0 && negative_zeros < counts.zero; }
  Geometry signs_geometry() const noexcept { return {1, stores_signs() ? counts.zero : 0, 1}; }
};

struct Entry {
  std::string name;
  Storage storage = Storage::kTied;
  std::uint8_t dtype = 0;
  std::vector<std::uint64_t> shape;
  std::uint64_t elements = 0;
  std::size_t tied_to = 0;           // number of the tensor whose elements these are, where it is tied
  std::unique_ptr<Ternary> ternary;  // where the storage is kTernary
  std::uint64_t parameter_bytes = 0;
  std::vector<Record> records;  // levels, symbols, signs of zeros; or planes
  std::size_t block = 0;        // the solid block that it is in
  std::uint64_t block_offset = 0;
  std::uint64_t stored_bytes = 0;  // its share of the payload

  const ElementType& type() const noexcept { return kElementTypes[dtype]; }
  std::uint64_t bytes() const noexcept { return elements * type().size; }
  // Bytes of each sequence of levels that is in records.
  std::uint64_t level_bytes() const noexcept;
  std::uint64_t level_records() const noexcept;
  std::uint64_t record_count() const noexcept;
  // What its records stand for at least: all but the signs of zeros.
  std::uint64_t units() const noexcept;
};

// Small tensors that are compressed together.
struct SolidBlock {
  std::vector<std::size_t> members;  // by number, in the order of the file
  std::vector<std::size_t> ordered;  // as they lie in the block: by type, those of one type in order
  std::uint64_t size = 0;
  Record record;
};

}  // namespace ternzip::container
