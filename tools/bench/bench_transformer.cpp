// Times one transformer forward (one branch) on a model folder, beside the parts it is made of.
//   bench_transformer TRANSFORMER_DIR WIDTH HEIGHT FRAMES [bf16|fp32] [REPEATS]
// Prints one JSON line per measurement: wall and CPU seconds, FLOP, GFLOP/s per CPU second.
#include <ATen/ATen.h>
#include <c10/core/InferenceMode.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "bench/measure.h"
#include "models/wan/transformer.h"
#include "ops/attention.h"
#include "ops/linear.h"

namespace {

// Products and attention of one forward; the cross-attention keys are made beforehand.
double forward_flop(const t2v::models::TransformerSpec& s, double tokens, double text) {
  const auto c = static_cast<double>(s.size());
  const auto e = static_cast<double>(s.ffn_size);
  const double linear = 2 * tokens * (6 * c * c + 2 * c * e);
  const double attention = 4 * tokens * (tokens + text) * c;
  return static_cast<double>(s.num_blocks) * (linear + attention);
}

}  // namespace

int main(int argc, char** argv) {
  using namespace t2v;
  using bench::measure;
  if (argc < 5)
    return std::fprintf(stderr,
                        "usage: bench_transformer DIR WIDTH HEIGHT FRAMES [bf16|fp32] [REPEATS]\n"),
           2;
  const c10::InferenceMode no_gradients;
  const std::string folder = argv[1];
  const int64_t width = std::atoll(argv[2]) / 8;
  const int64_t height = std::atoll(argv[3]) / 8;
  const int64_t frames = (std::atoll(argv[4]) - 1) / 4 + 1;
  const auto dtype = argc > 5 && std::strcmp(argv[5], "fp32") == 0 ? at::kFloat : at::kBFloat16;
  const int repeats = argc > 6 ? std::atoi(argv[6]) : 5;
  const auto spec = models::read_transformer_spec(folder + "/config.json");
  const auto map = std::make_shared<const weights::WeightMap>(
      weights::WeightMap::open(folder, weights::ModelPart::kTransformer, "transformer"));
  models::wan::Transformer transformer(spec, map, models::wan::resident_plan(spec), dtype,
                                       at::kCPU);
  transformer.begin_prompt();
  at::manual_seed(1);
  const auto rope = ops::make_rope_tables(frames, height / 2, width / 2, spec.head_size, at::kCPU);
  const at::Tensor latents = at::randn({spec.in_channels, frames, height, width});
  const int64_t text_rows = 20;
  auto condition = transformer.make_condition(at::randn({text_rows, spec.text_size}), 512);
  const auto time = transformer.make_time(700);
  const auto tokens = static_cast<double>(rope.num_tokens());
  const int64_t rows = rope.num_tokens();
  // The peak: the largest product of the model alone.
  const ops::Linear ffn(at::randn({spec.ffn_size, spec.size()}, dtype),
                        at::randn({spec.ffn_size}, dtype));
  const at::Tensor x = at::randn({rows, spec.size()}, dtype);
  measure("gemm_peak", repeats * 3, 2 * tokens * static_cast<double>(spec.size() * spec.ffn_size),
          [&] { static_cast<void>(ffn(x)); });
  const at::Tensor q = at::randn({spec.num_heads, rows, spec.head_size}, dtype);
  for (const auto& [name, backend] : {std::pair{"attention_auto", ops::AttentionBackend::kAuto},
                                      {"attention_flash", ops::AttentionBackend::kFlash}})
    measure(name, repeats, 4 * tokens * tokens * static_cast<double>(spec.size()),
            [&, b = backend] { ops::attention(q, q, q, {}, b); });
  measure("forward", repeats, forward_flop(spec, tokens, text_rows + 1), [&] {
    static_cast<void>(
        transformer.forward({.latents = latents, .time = time, .rope = rope}, {&condition},
                            {[] {}, [](int64_t, const std::function<void()>& load) { load(); }}));
  });
  std::printf("{\"name\": \"peak_rss_gb\", \"value\": %.3f}\n", bench::peak_rss_gb());
  return 0;
}
