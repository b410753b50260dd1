// Times the text encoder on one prompt, weights read anew each time (page cache warm after the
// first).
//   bench_text_encoder TEXT_ENCODER_DIR [TOKENS] [bf16|fp32] [REPEATS]
#include <ATen/ATen.h>
#include <c10/core/InferenceMode.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

#include "bench/measure.h"
#include "models/umt5/encoder.h"

int main(int argc, char** argv) {
  using namespace t2v;
  if (argc < 2)
    return std::fprintf(stderr, "usage: bench_text_encoder DIR [TOKENS] [bf16|fp32] [REPEATS]\n"),
           2;
  const c10::InferenceMode no_gradients;
  const std::string folder = argv[1];
  const int64_t tokens = argc > 2 ? std::atoll(argv[2]) : 13;
  const auto dtype = argc > 3 && std::strcmp(argv[3], "fp32") == 0 ? at::kFloat : at::kBFloat16;
  const int repeats = argc > 4 ? std::atoi(argv[4]) : 5;
  std::vector<int64_t> ids;
  for (int64_t i = 0; i + 1 < tokens; ++i) ids.push_back(100 + 7 * i);
  ids.push_back(1);
  const auto spec = models::read_text_encoder_spec(folder + "/config.json");
  bench::measure("text_encoder", repeats, 0, [&] {
    models::umt5::Encoder encoder(
        spec, weights::WeightMap::open(folder, weights::ModelPart::kTextEncoder, "text_encoder"),
        dtype, at::kCPU);
    static_cast<void>(encoder.encode({ids}, {}, [](int64_t, int64_t) {}));
  });
  std::printf("{\"name\": \"peak_rss_gb\", \"value\": %.3f}\n", bench::peak_rss_gb());
  return 0;
}
