// Names of tensors in any style.
#include <string>
#include <vector>

#include "fuzz/harness.h"
#include "weights/key_map.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* input, size_t size) {
  using namespace t2v;
  // One name a line; the first byte chooses the part.
  if (size == 0 || size > 4096) return 0;
  std::vector<std::string> names(1);
  for (const char c : fuzz::as_text(input + 1, size - 1)) {
    if (c == '\n') {
      names.emplace_back();
    } else {
      names.back() += c;
    }
  }
  const auto part = static_cast<weights::ModelPart>(input[0] % 3);
  const weights::KeyMap map(part, names);
  fuzz::require(map.canonical().size() == names.size());
  for (const std::string& name : map.canonical()) (void)map.in_file(name);
  return 0;
}
