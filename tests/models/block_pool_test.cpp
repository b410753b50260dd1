// Wherever the blocks' weights are between two passes, the result is the same to the last bit.
#include "models/wan/block_pool.h"

#include <ATen/ATen.h>

#include <catch2/catch.hpp>

#include "models/tiny_fixture.h"
#include "models/wan/experts.h"
#include "models/wan/transformer.h"
#include "support/compare.h"

using namespace t2v;
using namespace t2v::models::wan;
using testing::mismatch;

namespace {

models::TransformerSpec tiny_spec() {
  return models::read_transformer_spec(testing::tiny_path("transformer/config.json"));
}

BlockPlan plan_of(std::vector<BlockHome> pattern, bool load_ahead) {
  BlockPlan plan = resident_plan(tiny_spec());
  for (size_t i = 0; i < plan.homes.size(); ++i) plan.homes[i] = pattern[i % pattern.size()];
  plan.keep_key_weights = pattern == std::vector{BlockHome::kResident};
  plan.load_ahead = load_ahead;
  plan.num_slots = load_ahead ? 2 : 1;
  return plan;
}

std::unique_ptr<Transformer> make_transformer(const BlockPlan& plan, at::ScalarType dtype) {
  return std::make_unique<Transformer>(tiny_spec(), testing::tiny_transformer_weights(), plan,
                                       dtype, at::kCPU);
}

const Transformer::Hooks kHooks{[] {}, [](int64_t, const std::function<void()>& load) { load(); }};

// Two prompts of three passes each.
at::Tensor six_passes(Transformer& transformer, BlockPool::Again at_the_end) {
  std::vector<at::Tensor> outputs;
  at::Tensor latents = testing::tiny_reference("latents");
  const at::Tensor text = testing::tiny_reference("text_rows");
  for (int prompt = 0; prompt < 2; ++prompt) {
    transformer.begin_prompt();
    Condition a = transformer.make_condition(text * (1 + prompt), 40);
    Condition b = transformer.make_condition(text.narrow(0, 0, 3), 40);
    std::vector<TimeModulation> times;
    for (const int64_t t : {900, 500, 100}) times.push_back(transformer.make_time(t));
    transformer.end_prologue();
    const auto rope =
        ops::make_rope_tables(latents.size(1), latents.size(2) / 2, latents.size(3) / 2,
                              transformer.spec().head_size, at::kCPU);
    for (size_t i = 0; i < times.size(); ++i) {
      const bool last = prompt == 1 && i == 2;
      const auto both = transformer.forward(
          {.time = times[i], .rope = rope, .again = last ? at_the_end : BlockPool::Again::kLater},
          lanes_of(latents, {&a, &b}), kHooks);
      outputs.insert(outputs.end(), both.begin(), both.end());
      latents = latents - 0.3 * both[0];
    }
  }
  return at::stack(outputs);
}

constexpr BlockHome kR = BlockHome::kResident, kC = BlockHome::kHostCached,
                    kS = BlockHome::kStreamed;

}  // namespace

TEST_CASE("resident, cached and streamed blocks give the same bytes, loaded ahead or not") {
  for (const auto dtype : {at::kFloat, at::kBFloat16}) {
    const auto resident = make_transformer(resident_plan(tiny_spec()), dtype);
    const at::Tensor want = six_passes(*resident, BlockPool::Again::kLater);
    CHECK(resident->counts().streamed_blocks == 0);
    for (const auto& pattern : std::vector<std::vector<BlockHome>>{
             {kR}, {kS}, {kC}, {kR, kS}, {kS, kR}, {kC, kS}, {kS, kC, kR}}) {
      for (const bool load_ahead : {false, true}) {
        const auto transformer = make_transformer(plan_of(pattern, load_ahead), dtype);
        CHECK(mismatch(six_passes(*transformer, BlockPool::Again::kNever), want, {}) == "");
        if (pattern == std::vector{kS})
          CHECK(transformer->counts().streamed_blocks == 2 * 2 * tiny_spec().num_blocks);
      }
    }
  }
}

TEST_CASE("quantised blocks give the same bytes wherever they stay, and take half the memory") {
  for (const auto rows : {ops::RowType::kInt8, ops::RowType::kPlain}) {
    models::QuantPlan quant;
    quant.rows = rows;
    quant.weights_only = rows == ops::RowType::kPlain;
    quant.protect_last = 1;  // one block stays 16-bit
    const auto with_quant = [&](BlockPlan plan) {
      plan.quant = quant;
      return plan;
    };
    const auto resident = make_transformer(with_quant(resident_plan(tiny_spec())), at::kBFloat16);
    const at::Tensor want = six_passes(*resident, BlockPool::Again::kLater);
    const auto plain = make_transformer(resident_plan(tiny_spec()), at::kBFloat16);
    CHECK(mismatch(six_passes(*plain, BlockPool::Again::kLater), want, {}) != "");
    for (const auto& pattern :
         std::vector<std::vector<BlockHome>>{{kS}, {kC}, {kR, kC}, {kC, kS}}) {
      for (const bool load_ahead : {false, true}) {
        const auto transformer =
            make_transformer(with_quant(plan_of(pattern, load_ahead)), at::kBFloat16);
        CHECK(mismatch(six_passes(*transformer, BlockPool::Again::kNever), want, {}) == "");
      }
    }
  }
  // What lies in host memory.
  const auto map = testing::tiny_transformer_weights();
  std::vector<std::string> names;
  int64_t elements = 0;
  for (const auto& [name, entry] : map->entries("blocks.0.")) {
    names.push_back(name);
    elements += map->take(name, at::kFloat).numel();
  }
  models::QuantPlan int8;
  int8.rows = ops::RowType::kInt8;
  const models::Placement from{*map, at::kBFloat16, at::kCPU, int8};
  REQUIRE(QuantisedBlock::pays(from, names));
  CHECK_FALSE(QuantisedBlock::pays({*map, at::kBFloat16, at::kCPU, {}}, names));
  const QuantisedBlock block(from, names, nullptr);
  CHECK(block.int8_rotation("blocks.0.ffn.0.weight").has_value());
  CHECK_FALSE(block.int8_rotation("blocks.0.norm3.weight").has_value());
  const weights::Int8Rows rows =
      block.take_int8("blocks.0.ffn.0.weight", *block.int8_rotation("blocks.0.ffn.0.weight"));
  CHECK(rows.values.scalar_type() == at::kChar);
  // A byte an element, and 256 bytes at most to align each of values and scales.
  CHECK(block.bytes() < elements + elements / 2 + 1024 * static_cast<int64_t>(names.size()));
}

TEST_CASE("known keys need no key weights, and change nothing") {
  for (const auto& pattern : std::vector<std::vector<BlockHome>>{{kR}, {kS}, {kC}}) {
    for (const bool load_ahead : {false, true}) {
      BlockPlan plan = plan_of(pattern, load_ahead);
      plan.keep_key_weights = false;
      const auto transformer = make_transformer(plan, at::kFloat);
      const at::Tensor latents = testing::tiny_reference("latents");
      const auto rope =
          ops::make_rope_tables(latents.size(1), latents.size(2) / 2, latents.size(3) / 2,
                                transformer->spec().head_size, at::kCPU);
      transformer->begin_prompt();
      Condition condition = transformer->make_condition(testing::tiny_reference("text_rows"), 40);
      const auto time = transformer->make_time(700);
      transformer->end_prologue();
      const auto pass = [&] {
        return transformer
            ->forward({.time = time, .rope = rope}, lanes_of(latents, {&condition}), kHooks)
            .front();
      };
      const at::Tensor want = pass();
      const int64_t skipped = transformer->counts().key_bytes_skipped;
      transformer->begin_prompt({.condition = false, .times = false});
      CHECK(mismatch(pass(), want, {}) == "");
      CHECK(mismatch(pass(), want, {}) == "");
      if (pattern.front() == kS) CHECK(transformer->counts().key_bytes_skipped > skipped);
      // The next prompt that is not known gets them again.
      transformer->begin_prompt();
      Condition fresh = transformer->make_condition(testing::tiny_reference("text_rows"), 40);
      const auto again =
          transformer->forward({.time = time, .rope = rope}, lanes_of(latents, {&fresh}), kHooks);
      CHECK(mismatch(again.front(), want, {}) == "");
      CHECK(fresh.keys.size() == static_cast<size_t>(tiny_spec().num_blocks));
    }
  }
}

TEST_CASE("key weights are read in the first pass of a prompt only") {
  const auto all = make_transformer(plan_of({kS}, false), at::kBFloat16);
  static_cast<void>(six_passes(*all, BlockPool::Again::kLater));
  const auto& map = all->weights();
  int64_t keys = 0;
  int64_t blocks = 0;
  for (const auto& [name, entry] : map.entries("blocks.")) {
    blocks += entry->bytes;
    if (Block::is_key_weight(name)) keys += entry->bytes;
  }
  REQUIRE(keys > 0);
  // Two prompts of one full pass and two short ones; what is read ahead and not used, and page
  // alignment, come on top.
  const int64_t least = 6 * blocks - 4 * keys;
  CHECK(all->counts().stream.bytes >= least);
}

TEST_CASE("an expert loads behind the one that leaves, and takes over with the same result") {
  const auto alone = make_transformer(resident_plan(tiny_spec()), at::kFloat);
  const at::Tensor want = six_passes(*alone, BlockPool::Again::kLater);
  for (const auto& pattern : std::vector<std::vector<BlockHome>>{{kR}, {kR, kS}, {kC, kS}}) {
    for (const bool load_ahead : {false, true}) {
      Experts experts(
          [&](Expert) { return make_transformer(plan_of(pattern, load_ahead), at::kFloat); },
          false);
      Transformer& high = experts.get(Expert::kHighNoise);
      const at::Tensor latents = testing::tiny_reference("latents");
      const auto rope = ops::make_rope_tables(latents.size(1), latents.size(2) / 2,
                                              latents.size(3) / 2, high.spec().head_size, at::kCPU);
      high.begin_prompt();
      Condition condition = high.make_condition(testing::tiny_reference("text_rows"), 40);
      const auto time = high.make_time(950);
      experts.hand_over_to(Expert::kLowNoise);
      static_cast<void>(
          high.forward({.time = time, .rope = rope, .again = BlockPool::Again::kNever},
                       lanes_of(latents, {&condition}), kHooks));
      Transformer& low = experts.get(Expert::kLowNoise);
      CHECK_FALSE(experts.is_open(Expert::kHighNoise));
      CHECK(mismatch(six_passes(low, BlockPool::Again::kNever), want, {}) == "");
    }
  }
}

TEST_CASE("a stop between blocks is passed on, and a pool can be given up at once") {
  for (const bool load_ahead : {false, true}) {
    const auto transformer = make_transformer(plan_of({kS}, load_ahead), at::kFloat);
    transformer->begin_prompt();
    Condition condition = transformer->make_condition(testing::tiny_reference("text_rows"), 40);
    const at::Tensor latents = testing::tiny_reference("latents");
    const auto rope =
        ops::make_rope_tables(latents.size(1), latents.size(2) / 2, latents.size(3) / 2,
                              transformer->spec().head_size, at::kCPU);
    const Transformer::Hooks stopping{[] { throw Error(ErrorKind::kCancelled, "stop"); },
                                      kHooks.around_load};
    const auto time = transformer->make_time(500);
    CHECK_THROWS_AS(transformer->forward({.time = time, .rope = rope},
                                         lanes_of(latents, {&condition}), stopping),
                    Error);
  }
}
