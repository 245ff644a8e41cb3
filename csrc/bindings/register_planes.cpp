#include <pybind11/stl.h>

#include <algorithm>
#include <stdexcept>
#include <vector>

#include "bindings/registry.hpp"
#include "bindings/released_gil.hpp"
#include "core/codecs/planes/huffman.hpp"
#include "core/codecs/planes/planes.hpp"
#include "core/codecs/planes/zeros.hpp"
#include "core/codecs/zstd/zstd.hpp"

namespace ternzip::bindings {
namespace py = pybind11;

namespace {

using Addresses = std::vector<std::uintptr_t>;

template <class Byte>
std::vector<Byte*> pointers(const Addresses& addresses, unsigned width) {
  if (addresses.size() != width) throw std::invalid_argument("planes: expected one address a byte of width");
  std::vector<Byte*> result;
  for (const std::uintptr_t address : addresses) result.push_back(pointer<Byte>(address));
  return result;
}

ByteCounts counts_at(std::uintptr_t address) {
  ByteCounts counts;
  std::copy_n(pointer<const std::uint32_t>(address), counts.size(), counts.begin());
  return counts;
}

void register_huffman(py::module_& module) {
  module.def(
      "count_bytes",
      [](std::uintptr_t src, std::size_t size, std::uintptr_t counts) {
        const ReleasedGil released;
        const ByteCounts found = count_bytes(pointer<const std::uint8_t>(src), size);
        std::copy(found.begin(), found.end(), pointer<std::uint32_t>(counts));
      },
      py::arg("src"), py::arg("size"), py::arg("counts"));
  module.def(
      "has_repeats",
      [](std::uintptr_t src, std::size_t count, unsigned width) {
        const ReleasedGil released;
        return has_repeats(pointer<const void>(src), count, width);
      },
      py::arg("src"), py::arg("count"), py::arg("width"));
  module.def(
      "huffman_size", [](std::uintptr_t counts) { return huffman_size(counts_at(counts)); },
      py::arg("counts"));
  module.def(
      "huffman_encode",
      [](std::uintptr_t src, std::size_t size, std::uintptr_t counts) {
        HuffmanPayload payload;
        {
          const ReleasedGil released;
          payload = huffman_encode(pointer<const std::uint8_t>(src), size, counts_at(counts));
        }
        return py::bytes(reinterpret_cast<const char*>(payload.bytes.get()), payload.size);
      },
      py::arg("src"), py::arg("size"), py::arg("counts"));
  module.def(
      "huffman_decode",
      [](std::uintptr_t payload, std::size_t payload_size, std::uintptr_t out, std::size_t size) {
        const ReleasedGil released;
        return huffman_decode(pointer<const std::uint8_t>(payload), payload_size, pointer<std::uint8_t>(out),
                              size);
      },
      py::arg("payload"), py::arg("payload_size"), py::arg("out"), py::arg("size"));
}

void register_zstd(py::module_& module) {
  module.def(
      "zstd_decompress",
      [](std::uintptr_t frame, std::size_t frame_size, std::uintptr_t out, std::size_t size) {
        const ReleasedGil released;
        const zstd::Result result = zstd::decompress(pointer<const std::uint8_t>(frame), frame_size,
                                                     pointer<std::uint8_t>(out), size);
        return zstd::message_of(result, size);
      },
      py::arg("frame"), py::arg("frame_size"), py::arg("out"), py::arg("size"));
}

void register_zeros(py::module_& module) {
  module.attr("REST_OVERRUN") = kRestOverrun;
  module.def(
      "split_zeros",
      [](std::uintptr_t plane, std::size_t size, std::uintptr_t bitmap, std::uintptr_t rest) {
        const ReleasedGil released;
        return split_zeros(pointer<const std::uint8_t>(plane), size, pointer<std::uint8_t>(bitmap),
                           pointer<std::uint8_t>(rest));
      },
      py::arg("plane"), py::arg("size"), py::arg("bitmap"), py::arg("rest"));
  module.def(
      "count_bitmap",
      [](std::uintptr_t bitmap, std::size_t size) -> py::object {
        std::size_t ones = 0;
        if (!count_bitmap(pointer<const std::uint8_t>(bitmap), size, ones)) return py::none();
        return py::int_(ones);
      },
      py::arg("bitmap"), py::arg("size"));
  module.def(
      "merge_zeros",
      [](std::uintptr_t bitmap, std::uintptr_t rest, std::size_t ones, std::size_t size,
         std::uintptr_t plane) {
        const ReleasedGil released;
        return merge_zeros(pointer<const std::uint8_t>(bitmap), pointer<const std::uint8_t>(rest), ones, size,
                           pointer<std::uint8_t>(plane));
      },
      py::arg("bitmap"), py::arg("rest"), py::arg("ones"), py::arg("size"), py::arg("plane"));
}

}  // namespace

void register_planes(py::module_& module) {
  module.def(
      "split_planes",
      [](std::uintptr_t src, std::size_t count, unsigned width, unsigned rotation, const Addresses& planes) {
        const auto to = pointers<std::uint8_t>(planes, width);
        const ReleasedGil released;
        split_planes(pointer<const void>(src), count, width, rotation, to.data());
      },
      py::arg("src"), py::arg("count"), py::arg("width"), py::arg("rotation"), py::arg("planes"));
  module.def(
      "merge_planes",
      [](const Addresses& planes, std::size_t count, unsigned width, unsigned rotation, std::uintptr_t dst) {
        const auto from = pointers<const std::uint8_t>(planes, width);
        const ReleasedGil released;
        merge_planes(from.data(), count, width, rotation, pointer<void>(dst));
      },
      py::arg("planes"), py::arg("count"), py::arg("width"), py::arg("rotation"), py::arg("dst"));
  register_huffman(module);
  register_zeros(module);
  register_zstd(module);
}

}  // namespace ternzip::bindings
