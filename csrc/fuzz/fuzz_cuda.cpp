// The CUDA decoder, emulated on the CPU, against the CPU's own: any payload, and damaged ones of every kind,
// of tensors of several chunks, elements of every width and levels by row.
#include <algorithm>
#include <cstring>

#include "core/codecs/fast/fast.hpp"
#include "core/codecs/fast/short_payload.hpp"
#include "cuda/fast/plan.hpp"
#include "fuzz/input.hpp"

namespace ternzip::fuzz {
namespace {

// A tensor of several chunks, each of a payload of its own.
struct Tensor {
  TritCounts counts;
  std::vector<std::size_t> sizes;  // trits of each chunk
  std::vector<std::vector<std::uint8_t>> payloads;
  std::size_t n = 0;
};

// Where its elements go, and their levels: for all, or by row with one row in four lacking a level.
struct Levels {
  std::size_t width = 2;
  std::size_t cols = 0;  // 0: the same for all
  std::vector<std::uint64_t> negative, positive;

  Levels(Input& input, std::size_t n) : width(std::size_t{1} << input.byte() % 4), cols(input.below(300)) {
    const std::uint64_t mask = ~std::uint64_t{0} >> (64 - 8 * width);
    const std::size_t rows = cols == 0 ? 1 : n / cols + 1;
    const bool some_missing = input.byte() % 8 == 1;
    for (std::size_t row = 0; row < rows; ++row) {
      negative.push_back((row * 0x9E3779B97F4A7C15 | 1) & mask);
      positive.push_back(((row + 7) * 0xC2B2AE3D27D4EB4F | 2) & mask & ~std::uint64_t{1});
      if (positive[row] == 0) positive[row] = 2;
      if (some_missing && row % 4 == 3) (row % 8 == 3 ? negative : positive)[row] = 0;
    }
  }
  std::size_t row_of(std::size_t element) const { return cols == 0 ? 0 : element / cols; }
};

void compare(const Tensor& tensor, const Levels& levels, int device) {
  // What the CPU makes of each chunk.
  std::vector<std::int8_t> trits(tensor.n);
  std::vector<bool> accepted;
  std::vector<cuda::FastChunk> chunks;
  std::size_t first = 0;
  for (std::size_t i = 0; i < tensor.sizes.size(); ++i) {
    const std::vector<std::uint8_t>& payload = tensor.payloads[i];
    accepted.push_back(
        fast::decode(payload.data(), payload.size(), tensor.sizes[i], tensor.counts, trits.data() + first));
    chunks.push_back({payload.data(), payload.size(), tensor.sizes[i], first});
    first += tensor.sizes[i];
  }

  cuda::FastUpload upload;
  if (!upload.read(std::move(chunks), tensor.counts)) {
    const bool short_one =
        std::any_of(tensor.payloads.begin(), tensor.payloads.end(),
                    [](const auto& payload) { return fast::is_short(payload.data(), payload.size()); });
    require(short_one || std::find(accepted.begin(), accepted.end(), false) != accepted.end(),
            "headers are refused by both, and short payloads left to the CPU");
    return;
  }
  // Of the exact sizes, so that the sanitizer sees the first byte beyond.
  std::vector<std::uint8_t> sent(upload.size()), scratch(upload.scratch_size());
  upload.write(sent.data());
  std::vector<std::uint8_t> out(tensor.n * levels.width);
  const bool by_row = levels.cols != 0;
  const cuda::FastElements elements{out.data(),
                                    static_cast<unsigned>(levels.width),
                                    levels.negative[0],
                                    0,
                                    levels.positive[0],
                                    by_row ? levels.negative.data() : nullptr,
                                    by_row ? levels.positive.data() : nullptr,
                                    levels.cols};
  std::vector<std::int64_t> found(4 * tensor.sizes.size());
  upload.decode(sent.data(), scratch.data(), elements, found.data(), {device, nullptr});

  first = 0;
  for (std::size_t i = 0; i < tensor.sizes.size(); first += tensor.sizes[i++]) {
    std::int64_t counted[3] = {};
    bool level_missing = false;
    for (std::size_t k = first; k < first + tensor.sizes[i]; ++k) {
      const std::size_t row = levels.row_of(k);
      const std::uint64_t level = trits[k] < 0 ? levels.negative[row] : levels.positive[row];
      level_missing = level_missing || (accepted[i] && trits[k] != 0 && level == 0);
    }
    require((found[4 * i + 3] == 0) == (accepted[i] && !level_missing), "both accept the same payloads");
    if (found[4 * i + 3] != 0) continue;
    for (std::size_t k = first; k < first + tensor.sizes[i]; ++k) {
      const std::size_t row = levels.row_of(k);
      const std::uint64_t level = trits[k] < 0   ? levels.negative[row]
                                  : trits[k] > 0 ? levels.positive[row]
                                                 : 0;
      std::uint64_t bits = 0;
      std::memcpy(&bits, out.data() + k * levels.width, levels.width);
      require(bits == level, "both find the same trits");
      ++counted[trits[k] + 1];
    }
    require(counted[0] == found[4 * i] && counted[1] == found[4 * i + 1] && counted[2] == found[4 * i + 2],
            "symbols are counted as they are written");
  }
}

int device(Input& input) { return -1 - static_cast<int>(input.byte()); }

void decode_anything(Input& input) {
  const int seed = device(input);
  Tensor tensor;
  tensor.n = 1 + input.below(1u << 13);
  tensor.sizes = {tensor.n};
  tensor.counts = {input.count(), input.count(), input.count()};
  if ((tensor.counts.negative != 0) + (tensor.counts.zero != 0) + (tensor.counts.positive != 0) < 2) return;
  const Levels levels(input, tensor.n);
  tensor.payloads = {{input.rest(), input.rest() + input.left()}};
  compare(tensor, levels, seed);
}

void decode_damaged(Input& input) {
  const int seed = device(input);
  const fast::Options options{1u << input.below(7), 10 + static_cast<unsigned>(input.below(13)),
                              static_cast<unsigned>(input.below(64)),
                              input.byte() % 2 == 0 ? 0u : 8 + static_cast<unsigned>(input.below(9))};
  Tensor tensor;
  for (unsigned chunks = 1 + input.byte() % 3; chunks != 0; --chunks) {
    tensor.sizes.push_back(1 + input.below(1u << 15) / chunks);
    tensor.n += tensor.sizes.back();
  }
  const unsigned zeros = input.byte();
  std::uint32_t random = 1 + static_cast<std::uint32_t>(input.below(1u << 16));
  std::vector<std::int8_t> trits(tensor.n);
  tensor.counts = {1, 1, 0};
  for (std::int8_t& trit : trits) {
    random = random * 1664525 + 1013904223;
    const bool zero = (random >> 16 & 0xFF) <= zeros;
    trit = static_cast<std::int8_t>(zero ? 0 : (random >> 30 & 1) != 0 ? 1 : -1);
    ++(trit < 0 ? tensor.counts.negative : trit > 0 ? tensor.counts.positive : tensor.counts.zero);
  }
  const Levels levels(input, tensor.n);
  std::size_t first = 0;
  for (const std::size_t size : tensor.sizes) {
    std::vector<std::uint8_t> payload = fast::encode(trits.data() + first, size, tensor.counts, options);
    first += size;
    for (unsigned damages = input.byte() % 4; damages != 0 && !payload.empty(); --damages) {
      const std::size_t at = input.below(1u << 16) % payload.size();
      payload[at] = static_cast<std::uint8_t>(payload[at] ^ input.byte());
    }
    const bool cut = input.byte() % 4 == 1;
    const std::size_t less = input.below(1u << 16) % (payload.size() + 1);
    payload.resize(payload.size() - (cut ? less : 0));
    tensor.payloads.push_back(std::move(payload));
  }
  compare(tensor, levels, seed);
}

}  // namespace
}  // namespace ternzip::fuzz

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  ternzip::fuzz::Input input(data, size);
  if (input.byte() % 2 == 0) {
    ternzip::fuzz::decode_anything(input);
  } else {
    ternzip::fuzz::decode_damaged(input);
  }
  return 0;
}
