#include "models/wan/transformer.h"

#include <ATen/ATen.h>

#include <catch2/catch.hpp>

#include "models/tiny_fixture.h"
#include "support/compare.h"
#include "t2v/error.h"

using namespace t2v;
using models::wan::Condition;
using models::wan::TextPadding;
using models::wan::Transformer;
using testing::mismatch;

namespace {

constexpr int64_t kTextLen = 40;
constexpr testing::Tolerance kFp32{2e-5, 2e-5};

models::TransformerSpec tiny_spec() {
  return models::read_transformer_spec(testing::tiny_path("transformer/config.json"));
}

// Ready for a prompt.
struct TinyTransformer {
  explicit TinyTransformer(at::ScalarType dtype)
      : model(tiny_spec(), testing::tiny_transformer_weights(),
              models::wan::resident_plan(tiny_spec()), dtype, at::kCPU) {
    model.begin_prompt();
  }
  Transformer model;
};

const Transformer::Hooks kHooks{[] {}, [](int64_t, const std::function<void()>& load) { load(); }};

std::vector<at::Tensor> forward(Transformer& transformer, const at::Tensor& latents,
                                int64_t timestep, const std::vector<Condition*>& conditions) {
  const auto rope = ops::make_rope_tables(latents.size(1), latents.size(2) / 2, latents.size(3) / 2,
                                          transformer.spec().head_size, at::kCPU);
  return transformer.forward({.time = transformer.make_time(timestep), .rope = rope},
                             lanes_of(latents, conditions), kHooks);
}

at::Tensor forward(Transformer& transformer, const at::Tensor& latents, int64_t timestep,
                   Condition& condition) {
  return forward(transformer, latents, timestep, std::vector<Condition*>{&condition}).front();
}

}  // namespace

TEST_CASE("the velocity equals that of the diffusers library at three timesteps") {
  const at::Tensor latents = testing::tiny_reference("latents");
  const at::Tensor text = testing::tiny_reference("text_rows");
  for (const auto& [dtype, tolerance] :
       {std::pair{at::kFloat, testing::Tolerance{1e-4, 1e-4}},
        std::pair{at::kBFloat16, testing::Tolerance{8e-2, 5e-2}}}) {
    TinyTransformer tiny(dtype);
    Transformer& transformer = tiny.model;
    Condition condition = transformer.make_condition(text, kTextLen);
    for (const int64_t t : {999, 500, 3})
      CHECK(mismatch(forward(transformer, latents, t, condition),
                     testing::tiny_reference("output_" + std::to_string(t)), tolerance) == "");
  }
}

TEST_CASE("a first latent frame with a timestep of its own: as the diffusers library has it") {
  const at::Tensor latents = testing::tiny_reference("latents");
  const auto rope = ops::make_rope_tables(3, 3, 5, tiny_spec().head_size, at::kCPU);
  const at::Tensor expected = testing::tiny_reference("output_held_500");
  for (const auto& [dtype, tolerance] :
       {std::pair{at::kFloat, testing::Tolerance{1e-4, 1e-4}},
        std::pair{at::kBFloat16, testing::Tolerance{8e-2, 5e-2}}}) {
    TinyTransformer tiny(dtype);
    Transformer& transformer = tiny.model;
    const at::Tensor text = testing::tiny_reference("text_rows");
    Condition a = transformer.make_condition(text, kTextLen);
    Condition b = transformer.make_condition(text.narrow(0, 0, 4), kTextLen);
    const auto held_time = transformer.make_time(0);
    const Transformer::Pass pass{.time = transformer.make_time(500),
                                 .rope = rope,
                                 .held_time = &held_time,
                                 .held_tokens = 15};
    // Two sequences share their products: each has its own held rows.
    const auto both = transformer.forward(pass, models::wan::lanes_of(latents, {&a, &b}), kHooks);
    CHECK(mismatch(both[0], expected, tolerance) == "");
    CHECK(mismatch(both[1], expected, tolerance) != "");
    const auto alone = transformer.forward(pass, models::wan::lanes_of(latents, {&b}), kHooks);
    CHECK(mismatch(both[1], alone[0], tolerance) == "");
  }
  CHECK(mismatch(testing::tiny_reference("output_500"), expected, {1e-4, 1e-4}) != "");
}

TEST_CASE("no range of rows has held and other rows") {
  const auto ranges = models::wan::row_ranges(2 * 20000, 20000, 17000);
  int64_t next = 0;
  for (const auto& range : ranges) {
    CHECK(range.begin == next);
    const bool held = range.begin % 20000 < 17000;
    CHECK((range.end - 1) % 20000 < (held ? 17000 : 20000));
    CHECK(range.end - range.begin <= models::wan::kMaxChunkRows);
    next = range.end;
  }
  CHECK(next == 2 * 20000);
  CHECK(ranges.size() == 6);
}

TEST_CASE("one perturbed latent shows") {
  TinyTransformer tiny(at::kFloat);
  Transformer& transformer = tiny.model;
  Condition condition = transformer.make_condition(testing::tiny_reference("text_rows"), kTextLen);
  at::Tensor latents = testing::tiny_reference("latents").clone();
  latents[0][0][0][0] += 0.05;
  CHECK(mismatch(forward(transformer, latents, 500, condition),
                 testing::tiny_reference("output_500"), {1e-4, 1e-4}) != "");
}

TEST_CASE("one folded padding row gives what all padding rows give") {
  TinyTransformer tiny(at::kFloat);
  Transformer& transformer = tiny.model;
  const at::Tensor text = testing::tiny_reference("text_rows");
  const at::Tensor latents = testing::tiny_reference("latents");
  Condition folded = transformer.make_condition(text, kTextLen, TextPadding::kFolded);
  Condition full = transformer.make_condition(text, kTextLen, TextPadding::kFull);
  CHECK(folded.text.size(0) == text.size(0) + 1);
  CHECK(full.text.size(0) == kTextLen);
  CHECK(mismatch(forward(transformer, latents, 500, folded),
                 forward(transformer, latents, 500, full), kFp32) == "");
  // A prompt as long as the text length has no padding to fold.
  CHECK_FALSE(transformer.make_condition(text, text.size(0)).key_bias.defined());
}

TEST_CASE("guidance branches that share products equal single ones; conditions do not leak") {
  TinyTransformer tiny(at::kFloat);
  Transformer& transformer = tiny.model;
  const at::Tensor latents = testing::tiny_reference("latents");
  const at::Tensor text = testing::tiny_reference("text_rows");
  Condition a = transformer.make_condition(text, kTextLen);
  Condition b = transformer.make_condition(text.narrow(0, 0, 4) * 2, kTextLen);
  const auto both = forward(transformer, latents, 500, {&a, &b});
  CHECK(mismatch(both[0], forward(transformer, latents, 500, a), kFp32) == "");
  CHECK(mismatch(both[1], forward(transformer, latents, 500, b), kFp32) == "");
  CHECK(mismatch(both[0], both[1], kFp32) != "");
}

TEST_CASE("the same input gives the same bytes") {
  for (const auto dtype : {at::kFloat, at::kBFloat16}) {
    TinyTransformer tiny(dtype);
    Transformer& transformer = tiny.model;
    Condition condition =
        transformer.make_condition(testing::tiny_reference("text_rows"), kTextLen);
    const at::Tensor latents = testing::tiny_reference("latents");
    CHECK(mismatch(forward(transformer, latents, 500, condition),
                   forward(transformer, latents, 500, condition), {}) == "");
  }
}

TEST_CASE("patchify and unpatchify are inverse, up to the order of channels") {
  const auto spec = tiny_spec();
  const at::Tensor latents = at::randn({16, 2, 4, 6});
  const at::Tensor tokens = models::wan::patchify(latents, spec);  // channel, then pixel
  REQUIRE(tokens.sizes() == at::IntArrayRef({12, 64}));
  const at::Tensor reordered =
      tokens.view({12, 16, 4}).transpose(1, 2).reshape({12, 64});  // pixel, then channel
  CHECK(mismatch(models::wan::unpatchify(reordered, spec, 2, 4, 6), latents, {}) == "");
}

TEST_CASE("a checkpoint of other dimensions is refused with the tensors that differ") {
  auto spec = tiny_spec();
  spec.ffn_size += 1;
  try {
    const Transformer transformer(spec, testing::tiny_transformer_weights(),
                                  models::wan::resident_plan(spec), at::kFloat, at::kCPU);
    FAIL("accepted");
  } catch (const Error& error) {
    CHECK(error.kind() == ErrorKind::kModel);
    CHECK_THAT(error.what(), Catch::Matchers::Contains("ffn"));
  }
}
