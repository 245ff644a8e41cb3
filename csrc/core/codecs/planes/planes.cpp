#include "core/codecs/planes/planes.hpp"

#include <bit>
#include <stdexcept>
#include <vector>

#include "core/codecs/planes/kernels.hpp"
#include "core/simd/isa.hpp"

namespace ternzip {
namespace planes {

const EncodingKernels& encoding_kernels() noexcept {
#if defined(TERNZIP_X86)
  if (active_isa() == Isa::avx512) return kEncodingAvx512;
  if (active_isa() == Isa::avx2) return kEncodingAvx2;
#endif
  return kEncodingBaseline;
}

const DecodingKernels& decoding_kernels() noexcept {
#if defined(TERNZIP_X86)
  if (active_isa() == Isa::avx512) return kDecodingAvx512;
  if (active_isa() == Isa::avx2) return kDecodingAvx2;
#endif
  return kDecodingBaseline;
}

}  // namespace planes

namespace {

unsigned index_of(unsigned width, unsigned rotation) {
  if (!std::has_single_bit(width) || width > 8 || rotation >= 8 * width) {
    throw std::invalid_argument("planes: width must be 1, 2, 4 or 8, rotation below its bits");
  }
  return static_cast<unsigned>(std::countr_zero(width));
}

}  // namespace

void split_planes(const void* src, std::size_t count, unsigned width, unsigned rotation,
                  std::uint8_t* const* planes) {
  planes::encoding_kernels().split[index_of(width, rotation)](src, count, rotation, planes);
}

void merge_planes(const std::uint8_t* const* planes, std::size_t count, unsigned width, unsigned rotation,
                  void* dst) {
  planes::decoding_kernels().merge[index_of(width, rotation)](planes, count, rotation, dst);
}

bool has_repeats(const void* src, std::size_t count, unsigned width) {
  const unsigned index = index_of(width, 0);
  std::vector<std::uint32_t> table(planes::kRepeatsTable, 0);
  return planes::encoding_kernels().has_repeats[index](src, count, table.data());
}

}  // namespace ternzip
