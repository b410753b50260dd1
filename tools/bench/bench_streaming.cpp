// One guided step with all blocks resident against one with most blocks streamed, in turn.
//   bench_streaming TRANSFORMER_DIR WIDTH HEIGHT FRAMES RESIDENT_PERCENT [ROUNDS]
// Prints one JSON line: medians of wall and CPU seconds of both, and the medians of their ratios.
#include <ATen/ATen.h>
#include <c10/core/InferenceMode.h>

#include <cstdio>
#include <cstdlib>
#include <memory>
#include <string>
#include <vector>

#include "bench/measure.h"
#include "models/wan/transformer.h"

namespace {

using namespace t2v;
using models::wan::BlockHome;
using models::wan::Condition;
using models::wan::Transformer;

// `percent` of the blocks resident, evenly spread; the others read in each step.
models::wan::BlockPlan partial_plan(const models::TransformerSpec& spec, int64_t percent) {
  models::wan::BlockPlan plan = models::wan::resident_plan(spec);
  plan.keep_key_weights = percent == 100;
  for (int64_t i = 0; i < spec.num_blocks; ++i)
    if ((i + 1) * percent / 100 == i * percent / 100)
      plan.homes[static_cast<size_t>(i)] = BlockHome::kStreamed;
  return plan;
}

struct Step {
  Step(const models::TransformerSpec& spec, const std::string& folder, int64_t percent,
       const at::Tensor& its_latents)
      : transformer(spec,
                    std::make_shared<const weights::WeightMap>(weights::WeightMap::open(
                        folder, weights::ModelPart::kTransformer, "transformer")),
                    partial_plan(spec, percent), at::kBFloat16, at::kCPU),
        latents(its_latents),
        rope(ops::make_rope_tables(latents.size(1), latents.size(2) / 2, latents.size(3) / 2,
                                   spec.head_size, at::kCPU)) {
    transformer.begin_prompt();
    cond = transformer.make_condition(at::randn({20, spec.text_size}), 512);
    uncond = transformer.make_condition(at::randn({120, spec.text_size}), 512);
    time = transformer.make_time(700);
    transformer.end_prologue();
    run();  // loads
  }

  bench::Times run() {
    return bench::time_once([&] {
      static_cast<void>(transformer.forward(
          {.time = time, .rope = rope}, models::wan::lanes_of(latents, {&cond, &uncond}),
          {[] {}, [](int64_t, const std::function<void()>& load) { load(); }}));
    });
  }

  Transformer transformer;
  at::Tensor latents;
  ops::RopeTables rope;
  models::wan::TimeModulation time;
  Condition cond, uncond;
};

}  // namespace

int main(int argc, char** argv) {
  if (argc < 6)
    return std::fprintf(stderr,
                        "usage: bench_streaming DIR WIDTH HEIGHT FRAMES PERCENT [ROUNDS]\n"),
           2;
  const c10::InferenceMode no_gradients;
  const std::string folder = argv[1];
  const int64_t percent = std::atoll(argv[5]);
  const int rounds = argc > 6 ? std::atoi(argv[6]) : 5;
  const auto spec = models::read_transformer_spec(folder + "/config.json");
  at::manual_seed(1);
  const at::Tensor latents = at::randn({spec.in_channels, (std::atoll(argv[4]) - 1) / 4 + 1,
                                        std::atoll(argv[3]) / 8, std::atoll(argv[2]) / 8});
  Step streamed(spec, folder, percent, latents);
  Step resident(spec, folder, 100, latents);
  std::vector<double> wall[2], cpu[2], wall_ratio, cpu_ratio;
  for (int i = 0; i < rounds; ++i) {
    const bench::Times a = resident.run();
    const bench::Times b = streamed.run();
    wall[0].push_back(a.wall);
    wall[1].push_back(b.wall);
    cpu[0].push_back(a.cpu);
    cpu[1].push_back(b.cpu);
    wall_ratio.push_back(b.wall / a.wall);
    cpu_ratio.push_back(b.cpu / a.cpu);
  }
  const auto counts = streamed.transformer.counts();
  std::printf(
      "{\"resident_percent\": %lld, \"rounds\": %d, \"resident_wall_s\": %.3f, "
      "\"streamed_wall_s\": %.3f, \"resident_cpu_s\": %.3f, \"streamed_cpu_s\": %.3f, "
      "\"wall_ratio\": %.3f, \"cpu_ratio\": %.3f, \"stalled_s\": %.3f, \"read_gb\": %.2f}\n",
      static_cast<long long>(percent), rounds, bench::median(wall[0]), bench::median(wall[1]),
      bench::median(cpu[0]), bench::median(cpu[1]), bench::median(wall_ratio),
      bench::median(cpu_ratio), static_cast<double>(counts.stream.stall_ns) * 1e-9,
      static_cast<double>(counts.stream.bytes) * 1e-9);
  return 0;
}
