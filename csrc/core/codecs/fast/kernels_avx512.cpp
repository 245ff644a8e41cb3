#include "core/codecs/fast/kernels_x86.hpp"

namespace ternzip::fast {

const DecodeRounds kAvx512DecodeRounds = decode_rounds<X86Lanes>;

}  // namespace ternzip::fast
