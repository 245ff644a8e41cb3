// For the sources that are compiled once per instruction set, and for nothing else.
//
// Such an object must export its table only: an inline function of a header (std::min, say) that it
// happened to emit could be the copy the linker keeps for the whole program, and would then fault on an
// older processor. So everything in them lives in an unnamed namespace, and no header but this, the
// table's and <cstddef>/<cstdint> is included.
#pragma once

#include <cstddef>
#include <cstdint>

#if !defined(TERNZIP_ISA_SUFFIX)
#define TERNZIP_ISA_SUFFIX Baseline
#endif
#define TERNZIP_CONCAT_(a, b) a##b
#define TERNZIP_CONCAT(a, b) TERNZIP_CONCAT_(a, b)
#define TERNZIP_TABLE(prefix) TERNZIP_CONCAT(prefix, TERNZIP_ISA_SUFFIX)

namespace ternzip {
namespace {

// An unsigned integer that may be read from any address, whatever type lives there.
template <class UInt>
struct Unaligned {
#if defined(__GNUC__)
  using type __attribute__((aligned(1), may_alias)) = UInt;
#else
  using type = UInt;
#endif
};
template <class UInt>
using unaligned_t = typename Unaligned<UInt>::type;

}  // namespace
}  // namespace ternzip
