// Times one transformer forward (one branch) on a model folder, beside the parts it is made of.
//   bench_transformer TRANSFORMER_DIR WIDTH HEIGHT FRAMES [bf16|fp32|int8|int8-wo] [REPEATS]
// int8: bf16 and int8 in turns, so that both see the same machine; and what the blocks' weights add
// to the resident set of each.
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

double resident_gb() {
  std::FILE* file = std::fopen("/proc/self/statm", "r");
  long pages = 0;
  if (file == nullptr || std::fscanf(file, "%*d %ld", &pages) != 1) pages = 0;
  if (file != nullptr) std::fclose(file);
  return static_cast<double>(pages) * 4096 / 1e9;
}

// One model ready for forwards.
class Forward {
 public:
  struct Size {
    int64_t frames, height, width;  // latents
  };
  Forward(const std::string& folder, const t2v::models::QuantPlan& quant, at::ScalarType dtype,
          const Size& size)
      : spec_(t2v::models::read_transformer_spec(folder + "/config.json")),
        transformer_(spec_,
                     std::make_shared<const t2v::weights::WeightMap>(t2v::weights::WeightMap::open(
                         folder, t2v::weights::ModelPart::kTransformer, "transformer")),
                     plan(quant), dtype, at::kCPU),
        rope_(t2v::ops::make_rope_tables(size.frames, size.height / 2, size.width / 2,
                                         spec_.head_size, at::kCPU)) {
    transformer_.begin_prompt();
    at::manual_seed(1);
    latents_ = at::randn({spec_.in_channels, size.frames, size.height, size.width});
    condition_ = transformer_.make_condition(at::randn({kTextRows, spec_.text_size}), 512);
    time_ = transformer_.make_time(700);
  }
  at::Tensor operator()() {
    return transformer_
        .forward({.time = time_, .rope = rope_},
                 t2v::models::wan::lanes_of(latents_, {&condition_}),
                 {[] {}, [](int64_t, const std::function<void()>& load) { load(); }})
        .front();
  }

  static constexpr int64_t kTextRows = 20;

 private:
  t2v::models::wan::BlockPlan plan(const t2v::models::QuantPlan& quant) const {
    t2v::models::wan::BlockPlan result = t2v::models::wan::resident_plan(spec_);
    result.quant = quant;
    return result;
  }

  t2v::models::TransformerSpec spec_;
  t2v::models::wan::Transformer transformer_;
  t2v::ops::RopeTables rope_;
  at::Tensor latents_;
  t2v::models::wan::Condition condition_;
  t2v::models::wan::TimeModulation time_;
};

// bf16 and a quantised form in turns.
void compare(const std::string& folder, const t2v::models::QuantPlan& quant,
             const Forward::Size& size, int repeats) {
  using t2v::bench::Times;
  const double begin = resident_gb();
  Forward plain(folder, {}, at::kBFloat16, size);
  const at::Tensor expected = plain().flatten();
  const double between = resident_gb();
  Forward eight_bit(folder, quant, at::kBFloat16, size);
  const at::Tensor got = eight_bit().flatten();
  const double end = resident_gb();
  std::vector<double> cpu[2];
  std::vector<double> wall[2];
  for (int i = 0; i < repeats; ++i) {
    const Times times[2] = {t2v::bench::time_once([&] { static_cast<void>(plain()); }),
                            t2v::bench::time_once([&] { static_cast<void>(eight_bit()); })};
    for (int k = 0; k < 2; ++k) {
      cpu[k].push_back(times[k].cpu);
      wall[k].push_back(times[k].wall);
    }
  }
  using t2v::bench::median;
  std::printf("{\"name\": \"bf16\", \"cpu_s\": %.4f, \"wall_s\": %.4f, \"resident_gb\": %.3f}\n",
              median(cpu[0]), median(wall[0]), between - begin);
  std::printf(
      "{\"name\": \"quantised\", \"cpu_s\": %.4f, \"wall_s\": %.4f, \"resident_gb\": %.3f}\n",
      median(cpu[1]), median(wall[1]), end - between);
  std::printf(
      "{\"name\": \"ratio\", \"cpu\": %.3f, \"wall\": %.3f, \"weights\": %.3f, \"cosine\": %.6f}\n",
      median(cpu[0]) / median(cpu[1]), median(wall[0]) / median(wall[1]),
      (end - between) / (between - begin),
      (expected.dot(got) / (expected.norm() * got.norm())).item<double>());
}

}  // namespace

int main(int argc, char** argv) {
  using namespace t2v;
  using bench::measure;
  if (argc < 5)
    return std::fprintf(stderr,
                        "usage: bench_transformer DIR WIDTH HEIGHT FRAMES "
                        "[bf16|fp32|int8|int8-wo] [REPEATS]\n"),
           2;
  const c10::InferenceMode no_gradients;
  const std::string folder = argv[1];
  const int64_t width = std::atoll(argv[2]) / 8;
  const int64_t height = std::atoll(argv[3]) / 8;
  const int64_t frames = (std::atoll(argv[4]) - 1) / 4 + 1;
  const auto dtype = argc > 5 && std::strcmp(argv[5], "fp32") == 0 ? at::kFloat : at::kBFloat16;
  const int repeats = argc > 6 ? std::atoi(argv[6]) : 5;
  if (argc > 5 && std::strncmp(argv[5], "int8", 4) == 0) {
    const bool weights_only = std::strcmp(argv[5], "int8-wo") == 0;
    compare(folder,
            {.rows = weights_only ? ops::RowType::kPlain : ops::RowType::kInt8,
             .weights_only = weights_only},
            {frames, height, width}, repeats);
    return 0;
  }
  const auto spec = models::read_transformer_spec(folder + "/config.json");
  Forward forward(folder, {}, dtype, {frames, height, width});
  const auto rope = ops::make_rope_tables(frames, height / 2, width / 2, spec.head_size, at::kCPU);
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
  measure("forward", repeats, forward_flop(spec, tokens, Forward::kTextRows + 1),
          [&] { static_cast<void>(forward()); });
  std::printf("{\"name\": \"peak_rss_gb\", \"value\": %.3f}\n", bench::peak_rss_gb());
  return 0;
}
