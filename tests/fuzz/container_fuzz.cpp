// Files of any kind, told by their content.
#include "fuzz/harness.h"
#include "weights/container.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* input, size_t size) {
  using namespace t2v;
  fuzz::expect_answer([&] {
    const fuzz::MemorySource source(fuzz::as_bytes(input, size));
    fuzz::check_header(weights::read_container(source), source.size());
  });
  return 0;
}
