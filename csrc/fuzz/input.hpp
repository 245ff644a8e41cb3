// Fields taken from the bytes a fuzzer offers; zeros once they run out.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <vector>

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);

namespace ternzip::fuzz {

class Input {
 public:
  Input(const std::uint8_t* data, std::size_t size) : data_(data), left_(size) {}

  std::uint8_t byte() noexcept {
    if (left_ == 0) return 0;
    --left_;
    return *data_++;
  }
  std::size_t below(std::size_t bound) noexcept {
    const auto low = static_cast<std::size_t>(byte());
    return (low | static_cast<std::size_t>(byte()) << 8) % bound;
  }
  // 0, and numbers of every magnitude up to 2^63.
  std::uint64_t count() noexcept {
    const unsigned bits = byte();
    return bits % 65 == 0 ? 0 : (std::uint64_t{1} << (bits % 65 - 1)) + bits / 65;
  }
  const std::uint8_t* rest() const noexcept { return data_; }
  std::size_t left() const noexcept { return left_; }

  // The rest as trits, one a byte.
  std::vector<std::int8_t> trits(std::size_t n) {
    std::vector<std::int8_t> result(n);
    for (std::int8_t& trit : result) {
      const unsigned value = byte();
      trit = static_cast<std::int8_t>(value < 86 ? 0 : value < 171 ? 1 : -1);
    }
    return result;
  }

 private:
  const std::uint8_t* data_;
  std::size_t left_;
};

// Ends the process, as a sanitizer would, where a property fails.
inline void require(bool holds, const char* what) {
  if (holds) return;
  std::fprintf(stderr, "property violated: %s\n", what);
  std::abort();
}

}  // namespace ternzip::fuzz
