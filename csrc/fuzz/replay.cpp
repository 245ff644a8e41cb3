// Runs a fuzz target on files, and on every file in folders, with any compiler: `replay_TARGET PATH...`
#include <filesystem>
#include <fstream>
#include <iterator>

#include "fuzz/input.hpp"

namespace {

std::size_t replay(const std::filesystem::path& path) {
  if (!std::filesystem::is_directory(path)) {
    std::ifstream stream(path, std::ios::binary);
    const std::vector<char> bytes{std::istreambuf_iterator<char>(stream), {}};
    LLVMFuzzerTestOneInput(reinterpret_cast<const std::uint8_t*>(bytes.data()), bytes.size());
    return 1;
  }
  std::size_t files = 0;
  for (const auto& entry : std::filesystem::directory_iterator(path)) files += replay(entry.path());
  return files;
}

}  // namespace

int main(int argc, char** argv) {
  std::size_t files = 0;
  for (int i = 1; i < argc; ++i) {
    if (!std::filesystem::exists(argv[i])) {
      std::fprintf(stderr, "%s: no such file\n", argv[i]);
      return 1;
    }
    files += replay(argv[i]);
  }
  std::printf("%s: %zu inputs\n", argc > 0 ? argv[0] : "replay", files);
  return files == 0 ? 1 : 0;
}
