#include <algorithm>
#include <cstring>
#include <memory>
#include <span>
#include <vector>

#include "core/base/bytes.hpp"
#include "core/codecs/fast/fast.hpp"
#include "core/codecs/fast/kernels.hpp"
#include "core/codecs/fast/layout.hpp"
#include "core/codecs/fast/model.hpp"
#include "core/codecs/fast/output.hpp"
#include "core/codecs/fast/records.hpp"
#include "core/codecs/fast/short_payload.hpp"
#include "core/simd/isa.hpp"

namespace ternzip::fast {
namespace {

DecodeRounds decode_rounds() noexcept {
#if defined(TERNZIP_X86)
  if (active_isa() == Isa::avx512) return kAvx512DecodeRounds;
  if (active_isa() == Isa::avx2) return kAvx2DecodeRounds;
#elif defined(TERNZIP_NEON)
  if (active_isa() == Isa::neon) return kNeonDecodeRounds;
#endif
  return kBaselineDecodeRounds;
}

// One symbol at a time, with tables for any precision.
class SymbolDecoder {
 public:
  SymbolDecoder(const ParseTree& tree, std::span<const std::uint32_t> frequencies, unsigned precision)
      : tables_(std::make_unique_for_overwrite<DecodeTables>()), precision_(precision) {
    if (!packed()) slot_symbol_.resize(std::size_t{1} << precision);
    std::uint32_t start = 0;
    for (std::size_t symbol = 0; symbol < frequencies.size(); ++symbol) {
      const std::uint32_t frequency = frequencies[symbol];
      if (packed()) {
        const std::uint32_t slot = frequency | static_cast<std::uint32_t>(symbol) << 24;
        std::uint32_t* const slots = tables_->slots + start;
        for (std::uint32_t offset = 0; offset < frequency; ++offset) slots[offset] = slot | offset << 12;
      } else {
        std::fill_n(slot_symbol_.data() + start, frequency, static_cast<std::uint8_t>(symbol));
      }
      frequency_[symbol] = frequency;
      start_[symbol] = start;
      start += frequency;
    }
    tables_->longest = longest_symbol(tree);
    tables_->stride = record_stride(tables_->longest);
    tables_->precision = precision;
    write_records(tree, tables_->stride, tables_->records);
  }

  bool packed() const noexcept { return precision_ <= kSlotPrecision; }
  const DecodeTables& tables() const noexcept { return *tables_; }
  const std::uint8_t* record(unsigned symbol) const noexcept {
    return tables_->records + std::size_t{symbol} * tables_->stride;
  }
  unsigned length(unsigned symbol) const noexcept { return record(symbol)[tables_->stride - 1]; }

  // Takes a symbol from the state, which may fall below kStateFloor by that but not to zero.
  unsigned pop(std::uint32_t& state) const noexcept {
    const std::uint32_t slot = state & ((1u << precision_) - 1);
    const unsigned symbol = packed() ? tables_->slots[slot] >> 24 : slot_symbol_[slot];
    state = frequency_[symbol] * (state >> precision_) + slot - start_[symbol];
    return symbol;
  }

 private:
  std::unique_ptr<DecodeTables> tables_;
  unsigned precision_;
  std::vector<std::uint8_t> slot_symbol_;
  std::uint32_t frequency_[kMaxSymbols] = {};
  std::uint32_t start_[kMaxSymbols] = {};
};

// The states of a block, followed by its words.
struct Block {
  const std::uint8_t* bytes;
  const std::uint8_t* end;
  std::size_t symbols;  // interleaved ones; the tail is not counted
};

class BlockDecoder {
 public:
  BlockDecoder(const Header& header, const SymbolDecoder& symbols, Output& out)
      : header_(header), symbols_(symbols), out_(out) {}

  bool decode(const Block& block, std::size_t trits) {
    const unsigned lanes = header_.lanes();
    for (unsigned lane = 0; lane < lanes; ++lane) {
      states_[lane] = load_le<std::uint32_t>(block.bytes + std::size_t{4} * lane);
      if (states_[lane] < kStateFloor) return false;
    }
    words_ = block.bytes + std::size_t{4} * lanes;
    words_end_ = block.end;
    out_.open(trits);
    std::size_t rounds = block.symbols / lanes;
    while (rounds != 0) {
      if (lanes >= 8 && symbols_.packed()) {
        rounds = whole_rounds(rounds);
        if (rounds == 0) break;
      }
      if (!careful_round(lanes)) return false;
      --rounds;
    }
    if (!careful_round(static_cast<unsigned>(block.symbols % lanes)) || words_ != words_end_) return false;
    return lanes >= kMinTailLanes ? decode_tail() : all_at_floor();
  }

 private:
  std::size_t whole_rounds(std::size_t rounds) {
    const std::size_t room = std::size_t{2} * header_.lanes() * symbols_.tables().longest + kOverrun;
    for (;;) {
      std::int8_t* next = out_.next(room);
      Cursor cursor{states_, words_, words_end_, next, out_.end(), rounds};
      decode_rounds()(symbols_.tables(), header_.lanes(), cursor);
      out_.advance(static_cast<std::size_t>(cursor.out - next));
      words_ = cursor.words;
      if (cursor.rounds == rounds) return rounds;  // no further, or done
      rounds = cursor.rounds;
    }
  }

  // One symbol from each of the first lanes, every bound checked.
  bool careful_round(unsigned lanes) {
    for (unsigned lane = 0; lane < lanes; ++lane) {
      if (out_.left() == 0) return false;
      const unsigned symbol = symbols_.pop(states_[lane]);
      if (states_[lane] < kStateFloor) {
        if (words_end_ - words_ < 2) return false;
        states_[lane] = states_[lane] << 16 | load_le<std::uint16_t>(words_);
        words_ += 2;
      }
      out_.append(symbols_.record(symbol), symbols_.length(symbol));
    }
    return true;
  }

  bool all_at_floor() const {
    for (unsigned lane = 0; lane < header_.lanes(); ++lane) {
      if (states_[lane] != kStateFloor) return false;
    }
    return out_.left() == 0;
  }

  // What is left in the states is a stream of its own: the first two words its state, then its words.
  bool decode_tail() {
    const unsigned lanes = header_.lanes();
    for (unsigned lane = 0; lane < lanes; ++lane) {
      if (states_[lane] >> 16 != 1) return false;
    }
    std::uint32_t state = (states_[0] & 0xFFFFu) | states_[1] << 16;
    unsigned next = 2;
    if (state < kStateFloor) return false;
    while (out_.left() != 0) {
      const unsigned symbol = symbols_.pop(state);
      if (state < kStateFloor) {
        if (next == lanes) return false;
        state = state << 16 | (states_[next++] & 0xFFFFu);
      }
      out_.append(symbols_.record(symbol), symbols_.length(symbol));
    }
    for (; next < lanes; ++next) {
      if (states_[next] != kStateFloor) return false;
    }
    return state == kStateFloor;
  }

  const Header& header_;
  const SymbolDecoder& symbols_;
  Output& out_;
  std::uint32_t states_[kMaxLanes];
  const std::uint8_t* words_ = nullptr;
  const std::uint8_t* words_end_ = nullptr;
};

bool decode_chunk(const std::uint8_t* payload, std::size_t size, std::size_t n, const TritCounts& counts,
                  Output& out) {
  if (n > kMaxTrits) return false;
  const unsigned distinct = distinct_trits(counts);
  if (n == 0 || distinct < 2) {
    const std::int8_t only = counts.negative != 0 ? -1 : counts.positive != 0 ? 1 : 0;
    if (size != 0 || (n != 0 && distinct == 0)) return false;
    out.fill(only, n);
    return true;
  }

  if (is_short(payload, size)) {
    if (!decode_short(payload, size, n, counts, out)) return false;
    out.flush();
    return true;
  }
  Layout layout;
  if (!read_layout(payload, size, n, counts, layout)) return false;
  const SymbolDecoder symbols(layout.tree, layout.frequency, layout.header.precision);
  BlockDecoder decoder(layout.header, symbols, out);
  for (const BlockEntry& entry : layout.blocks) {
    const std::uint8_t* const begin = payload + entry.begin;
    const std::uint8_t* const end =
        begin + std::size_t{4} * layout.header.lanes() + std::size_t{2} * entry.words;
    if (!decoder.decode({begin, end, entry.symbols}, entry.trits)) return false;
  }
  out.flush();
  return true;
}

}  // namespace

bool decode(const std::uint8_t* payload, std::size_t size, std::size_t n, const TritCounts& counts,
            std::int8_t* out) {
  Output output(out);
  return decode_chunk(payload, size, n, counts, output);
}

bool decode_into(const std::uint8_t* payload, std::size_t size, std::size_t n, const TritCounts& counts,
                 ElementWriter& writer) {
  Output output(writer);
  return decode_chunk(payload, size, n, counts, output);
}

}  // namespace ternzip::fast
