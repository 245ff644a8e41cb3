#include "core/codecs/fast/kernels_x86.hpp"

namespace ternzip::fast {

const DecodeRounds kAvx2DecodeRounds = decode_rounds<X86Lanes>;

}  // namespace ternzip::fast
