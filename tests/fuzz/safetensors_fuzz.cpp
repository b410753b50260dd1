// Safetensors headers.
#include "fuzz/harness.h"
#include "weights/safetensors.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* input, size_t size) {
  using namespace t2v;
  fuzz::expect_answer([&] {
    const fuzz::MemorySource source(fuzz::as_bytes(input, size));
    fuzz::check_header(weights::read_safetensors_header(source), source.size());
  });
  return 0;
}
