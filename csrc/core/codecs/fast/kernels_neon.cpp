#include "core/base/compiler.hpp"

#if defined(TERNZIP_NEON)
#include <arm_neon.h>

#include "core/codecs/fast/kernels_vectors.hpp"

namespace ternzip::fast {
namespace {

// bytes[mask] sends the first 16-bit words of a vector to the lanes whose bit is set, and 0 to the others: an
// index beyond the vector reads as 0.
struct ExpandTable {
  alignas(16) std::uint8_t bytes[256][16];
};

constexpr ExpandTable make_expand_table() {
  ExpandTable table{};
  for (unsigned mask = 0; mask < 256; ++mask) {
    unsigned taken = 0;
    for (unsigned lane = 0; lane < 8; ++lane) {
      const bool set = (mask >> lane & 1u) != 0;
      table.bytes[mask][2 * lane] = static_cast<std::uint8_t>(set ? 2 * taken : 255);
      table.bytes[mask][2 * lane + 1] = static_cast<std::uint8_t>(set ? 2 * taken + 1 : 255);
      taken += set ? 1 : 0;
    }
  }
  return table;
}

constexpr ExpandTable kExpand = make_expand_table();

class NeonLanes {
 public:
  struct Vector {
    uint32x4_t low, high;  // lanes 0 to 3, lanes 4 to 7
  };

  explicit NeonLanes(const DecodeTables& tables)
      : tables_(tables),
        slot_mask_(vdupq_n_u32((1u << tables.precision) - 1)),
        to_quotient_(vdupq_n_s32(-static_cast<int>(tables.precision))) {}

  Vector load(const std::uint32_t* from) const { return {vld1q_u32(from), vld1q_u32(from + 4)}; }
  void store(std::uint32_t* to, Vector vector) const {
    vst1q_u32(to, vector.low);
    vst1q_u32(to + 4, vector.high);
  }
  Vector indices(Vector states) const {
    return {vandq_u32(states.low, slot_mask_), vandq_u32(states.high, slot_mask_)};
  }
  Vector slots(const std::uint32_t* index) const { return {four_slots(index), four_slots(index + 4)}; }
  Vector next(Vector states, Vector slots, const std::uint8_t*& words) const {
    states.low = without_symbol(states.low, slots.low);
    states.high = without_symbol(states.high, slots.high);

    const uint32x4_t floor = vdupq_n_u32(0x10000);
    const uint32x4_t low = vcltq_u32(states.low, floor), high = vcltq_u32(states.high, floor);
    // Of every lane that needs a word, a bit of its own and one more in the upper byte: the sum is the mask
    // of these lanes and their number.
    static constexpr std::uint16_t kBits[8] = {0x101, 0x102, 0x104, 0x108, 0x110, 0x120, 0x140, 0x180};
    const uint16x8_t needs = vcombine_u16(vmovn_u32(low), vmovn_u32(high));
    const unsigned sum = vaddvq_u16(vandq_u16(needs, vld1q_u16(kBits)));
    const uint16x8_t next =
        vreinterpretq_u16_u8(vqtbl1q_u8(vld1q_u8(words), vld1q_u8(kExpand.bytes[sum & 0xFF])));
    words += 2 * (sum >> 8);
    return {refilled(states.low, low, vget_low_u16(next)), refilled(states.high, high, vget_high_u16(next))};
  }
  void store_symbols(std::uint8_t* to, Vector slots) const {
    const uint16x8_t tops = vcombine_u16(vshrn_n_u32(slots.low, 16), vshrn_n_u32(slots.high, 16));
    vst1_u8(to, vshrn_n_u16(tops, 8));
  }

 private:
  uint32x4_t four_slots(const std::uint32_t* index) const {
    uint32x4_t slots = vld1q_dup_u32(tables_.slots + index[0]);
    slots = vld1q_lane_u32(tables_.slots + index[1], slots, 1);
    slots = vld1q_lane_u32(tables_.slots + index[2], slots, 2);
    return vld1q_lane_u32(tables_.slots + index[3], slots, 3);
  }
  uint32x4_t without_symbol(uint32x4_t states, uint32x4_t slots) const {
    const uint32x4_t field = vdupq_n_u32(0xFFF);
    return vmlaq_u32(vandq_u32(vshrq_n_u32(slots, 12), field), vandq_u32(slots, field),
                     vshlq_u32(states, to_quotient_));
  }
  // `needs` is all ones where a word is needed; elsewhere `words` is 0.
  static uint32x4_t refilled(uint32x4_t states, uint32x4_t needs, uint16x4_t words) {
    const int32x4_t shift = vreinterpretq_s32_u32(vandq_u32(needs, vdupq_n_u32(16)));
    return vorrq_u32(vshlq_u32(states, shift), vmovl_u16(words));
  }

  const DecodeTables& tables_;
  uint32x4_t slot_mask_;
  int32x4_t to_quotient_;
};

}  // namespace

const DecodeRounds kNeonDecodeRounds = decode_rounds<NeonLanes>;

}  // namespace ternzip::fast
#endif
