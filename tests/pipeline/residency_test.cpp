#include "pipeline/residency.h"

#include <catch2/catch.hpp>

#include "t2v/error.h"

using namespace t2v;
using namespace t2v::pipeline;
using models::wan::BlockHome;

namespace {

constexpr int64_t kMB = 1'000'000;
constexpr int64_t kGB = 1000 * kMB;

models::vae::VaeSpec wan_vae() {
  models::vae::VaeSpec spec;
  spec.z_dim = 16;
  spec.out_channels = 3;
  spec.decoder_base_dim = 96;
  spec.num_res_blocks = 2;
  spec.dim_mult = {1, 2, 4, 4};
  spec.upsample_time = {true, true, false};
  return spec;
}

// The A14B at 832x480, 81 frames, in bf16.
PlanInput a14b() {
  PlanInput in;
  in.transformer = {.num_blocks = 40,
                    .block_stored = 700 * kMB,
                    .block_ready = 700 * kMB,
                    .slot_ready = 700 * kMB,
                    .block_cached = 700 * kMB,
                    .key_weights = 105 * kMB,
                    .prologue = 830 * kMB,
                    .rest = 3 * kMB};
  in.num_experts = 2;
  in.text_block_stored = in.text_block_ready = 470 * kMB;
  in.vae_ready = 150 * kMB;
  in.vae = wan_vae();
  in.decode = {.num_latents = 21, .height = 60, .width = 104, .dtype = at::kBFloat16};
  in.spec.num_heads = 40;
  in.spec.head_size = 128;
  in.spec.ffn_size = 13824;
  in.spec.num_blocks = 40;
  in.geometry.num_tokens = 32760;
  in.width = 832;
  in.height = 480;
  in.base_host_bytes = 200 * kMB;
  return in;
}

int64_t resident(const MemoryPlan& plan) { return plan.count(BlockHome::kResident); }

}  // namespace

TEST_CASE("with plenty of memory everything stays; with less, one thing after the other goes") {
  const PlanInput in = a14b();
  const MemoryPlan plenty = make_plan(in, {.ram = 100 * kGB});
  CHECK(plenty.keep_both_experts);
  CHECK(plenty.keep_loaded);
  CHECK(resident(plenty) == 40);
  const MemoryPlan one_expert = make_plan(in, {.ram = 50 * kGB});
  CHECK_FALSE(one_expert.keep_both_experts);
  CHECK(resident(one_expert) == 40);
  CHECK(one_expert.blocks.keep_key_weights);
  const MemoryPlan part = make_plan(in, {.ram = 20 * kGB});
  CHECK(resident(part) > 0);
  CHECK(resident(part) < 40);
  CHECK_FALSE(part.blocks.keep_key_weights);
  CHECK(part.streamed_bytes_per_step == (40 - resident(part)) * 700 * kMB);
}

TEST_CASE("a plan that fits stays within its budget, and the smallest budget is the smallest") {
  const PlanInput in = a14b();
  int64_t last = -1;
  for (int64_t ram = kGB; ram <= 80 * kGB; ram += 500 * kMB) {
    const MemoryPlan plan = make_plan(in, {.ram = ram});
    CHECK(fits(plan) == (ram >= plan.smallest_ram));
    if (!fits(plan)) continue;
    CHECK(plan.highest().host_bytes <= ram);
    CHECK(resident(plan) >= last);  // more memory never streams more
    last = resident(plan);
  }
  const int64_t smallest = make_plan(in, {.ram = kGB}).smallest_ram;
  CHECK(fits(make_plan(in, {.ram = smallest})));
  CHECK_FALSE(fits(make_plan(in, {.ram = smallest - 1})));
}

TEST_CASE("resident blocks are spread evenly") {
  const MemoryPlan plan = make_plan(a14b(), {.ram = 22 * kGB});
  const auto& homes = plan.blocks.homes;
  int64_t run = 0;
  int64_t longest = 0;
  for (const BlockHome home : homes) {
    run = home == BlockHome::kStreamed ? run + 1 : 0;
    longest = std::max(longest, run);
  }
  const int64_t streamed = plan.count(BlockHome::kStreamed);
  REQUIRE(resident(plan) > 0);
  CHECK(longest <= streamed / resident(plan) + 1);
}

TEST_CASE("blocks that are small as stored are kept so when they do not fit expanded") {
  PlanInput in = a14b();
  in.transformer.block_stored = in.transformer.block_cached = 200 * kMB;  // 4 bits
  const MemoryPlan plan = make_plan(in, {.ram = 20 * kGB});
  CHECK(plan.count(BlockHome::kStreamed) == 0);
  CHECK(plan.count(BlockHome::kHostCached) > 0);
  CHECK(plan.streamed_bytes_per_step == 0);
  const MemoryPlan less = make_plan(in, {.ram = 10 * kGB});
  CHECK(fits(less));
  CHECK(less.count(BlockHome::kStreamed) > 0);
  CHECK(less.count(BlockHome::kHostCached) > 0);
}

TEST_CASE("on a device blocks go to its memory, then to the host's, then stay in the file") {
  PlanInput in = a14b();
  in.on_device = in.text_on_device = true;
  in.decode.form = models::vae::NetworkForm::kFrames;
  const MemoryPlan large = make_plan(in, {.ram = 100 * kGB, .vram = 80 * kGB});
  CHECK(resident(large) == 40);
  const MemoryPlan card = make_plan(in, {.ram = 64 * kGB, .vram = 24 * kGB});
  REQUIRE(fits(card));
  CHECK(resident(card) < 40);
  CHECK(card.count(BlockHome::kStreamed) == 0);
  const MemoryPlan small = make_plan(in, {.ram = 16 * kGB, .vram = 12 * kGB});
  REQUIRE(fits(small));
  CHECK(small.count(BlockHome::kHostCached) > 0);
  CHECK(small.count(BlockHome::kStreamed) > 0);
  CHECK(small.blocks.load_ahead);
  CHECK(small.blocks.stream.allocate != nullptr);
}

TEST_CASE("--offload is obeyed, and refused where it cannot be") {
  const PlanInput in = a14b();
  CHECK(resident(make_plan(in, {.ram = 100 * kGB, .offload = Offload::kBlock})) == 0);
  const MemoryPlan model = make_plan(in, {.ram = 100 * kGB, .offload = Offload::kModel});
  CHECK(resident(model) == 40);
  CHECK_FALSE(model.keep_both_experts);
  const MemoryPlan none = make_plan(in, {.ram = 30 * kGB, .offload = Offload::kNone});
  CHECK_FALSE(fits(none));
  Recipe recipe;
  recipe.width = 832;
  recipe.height = 480;
  recipe.frames = 81;
  CHECK_THAT(describe_misfit(none, recipe, {}),
             Catch::Contains("not enough host memory: this run needs at least") &&
                 Catch::Contains("allowed are 30.00 GB (832x480, 81 frames"));
  CHECK_THAT(describe_misfit(make_plan(in, {.ram = kGB}), recipe, {}),
             Catch::Contains("allowed are 1.00 GB"));
  CHECK(describe_misfit(model, recipe, {}).empty());
}

TEST_CASE("the picture is decoded whole where it fits, else in as few tiles as do") {
  PlanInput in = a14b();
  in.decode.height = 90;
  in.decode.width = 160;
  in.width = 1280;
  in.height = 720;
  CHECK_FALSE(make_plan(in, {.ram = 100 * kGB}).vae_tiling.is_tiled());
  int64_t last = 1000;
  for (int64_t ram = 4 * kGB; ram <= 16 * kGB; ram += kGB) {
    const MemoryPlan plan = make_plan(in, {.ram = ram});
    const int64_t tiles = plan.vae_tiling.rows * plan.vae_tiling.columns;
    CHECK(tiles <= last);
    last = tiles;
    if (fits(plan)) CHECK(plan.peaks[2].host_bytes <= ram);
  }
  CHECK(last == 1);
  CHECK(make_plan(in, {.ram = 6 * kGB}).vae_tiling.is_tiled());
  CHECK(make_plan(in, {.ram = 100 * kGB, .vae_tiling = VaeTiling::kOn}).vae_tiling.is_tiled());
  const MemoryPlan off = make_plan(in, {.ram = 6 * kGB, .vae_tiling = VaeTiling::kOff});
  CHECK_FALSE(off.vae_tiling.is_tiled());
  CHECK(off.smallest_ram > make_plan(in, {.ram = 6 * kGB}).smallest_ram);
}

TEST_CASE("the encoder of a given picture is a stage of the plan, and may decide what fits") {
  PlanInput in = a14b();
  const auto encode_peak = [](const MemoryPlan& plan) {
    int64_t bytes = 0;
    for (const StagePeak& peak : plan.peaks)
      if (peak.stage == Stage::kVaeEncode) bytes = peak.host_bytes;
    return bytes;
  };
  const MemoryPlan text_alone = make_plan(in, {.ram = 20 * kGB});
  CHECK(encode_peak(text_alone) == 0);
  in.vae.encoder_base_dim = 96;
  in.encode = {.height = 480, .width = 832, .dtype = at::kBFloat16};
  const int64_t small = encode_peak(make_plan(in, {.ram = 20 * kGB}));
  CHECK(small > kGB);
  CHECK(small < 6 * kGB);
  in.encode = {.height = 1440, .width = 2496, .dtype = at::kFloat};
  const MemoryPlan large = make_plan(in, {.ram = 20 * kGB});
  CHECK(encode_peak(large) > 10 * small);
  CHECK(large.smallest_ram > text_alone.smallest_ram);
  CHECK_FALSE(fits(large));
}
