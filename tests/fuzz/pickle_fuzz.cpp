// Pickles, without the archive and its checksums around them.
#include "fuzz/harness.h"
#include "weights/pickle_reader.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* input, size_t size) {
  using namespace t2v;
  fuzz::expect_answer([&] {
    const weights::Pickle pickle =
        weights::read_pickle(fuzz::as_text(input, size), "input", ErrorKind::kModel);
    for (const weights::PickleValue& value : pickle.values) {
      const bool holds_items = value.kind == weights::PickleKind::kTuple ||
                               value.kind == weights::PickleKind::kList ||
                               value.kind == weights::PickleKind::kDict;
      if (!holds_items) continue;
      for (const weights::PickleId id : pickle.items_of(value))
        fuzz::require(id < pickle.values.size());
    }
  });
  return 0;
}
