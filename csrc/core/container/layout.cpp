#include "core/container/layout.hpp"

#include <algorithm>

namespace ternzip::container {

Geometry geometry_of(const std::vector<std::uint64_t>& shape) noexcept {
  if (shape.size() < 2) return {1, shape.empty() ? 1 : shape[0], 1};
  Geometry geometry{shape[0], shape[1], 1};
  for (std::size_t i = 2; i < shape.size(); ++i) geometry.kernel *= shape[i];
  return geometry;
}

Chunks::Chunks(const Geometry& whole) noexcept : whole_(whole) {
  const std::uint64_t symbols = whole.symbols();
  if (symbols <= kMaxChunkSymbols) {
    units_ = share_ = whole.rows;
    count_ = symbols == 0 ? 0 : 1;
    return;
  }
  std::uint64_t unit = whole.row_size();
  units_ = whole.rows;
  if (unit > kMaxChunkSymbols) {
    unit = 1;
    units_ = symbols;
  }
  as_vector_ = unit == 1;
  share_ = ceil_div(units_, ceil_div(units_, kMaxChunkSymbols / unit));
  count_ = ceil_div(units_, share_);
}

Geometry Chunks::operator[](std::uint64_t number) const noexcept {
  const std::uint64_t units = std::min(share_, units_ - number * share_);
  if (as_vector_) return {1, units, 1};
  return {units, whole_.cols, whole_.kernel};
}

unsigned Ternary::level_sequences() const noexcept {
  if (grid.blocks() == 1) return 0;
  return (counts.negative != 0 ? 1u : 0u) + (counts.positive != 0 && !is_symmetric ? 1u : 0u);
}

std::uint64_t Entry::level_bytes() const noexcept {
  return ternary && ternary->level_sequences() != 0 ? ternary->grid.blocks() * type().size : 0;
}

std::uint64_t Entry::level_records() const noexcept {
  return ternary ? ternary->level_sequences() * ceil_div(level_bytes(), kMaxPlanesBytes) : 0;
}

std::uint64_t Entry::record_count() const noexcept {
  if (storage == Storage::kPlanes) return ceil_div(bytes(), kMaxPlanesBytes);
  if (!ternary) return 0;
  return level_records() + Chunks(ternary->geometry).count() + Chunks(ternary->signs_geometry()).count();
}

std::uint64_t Entry::units() const noexcept {
  return ternary ? elements + ternary->level_sequences() * level_bytes() : bytes();
}

}  // namespace ternzip::container
