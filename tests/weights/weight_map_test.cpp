#include "weights/weight_map.h"

#include <ATen/core/Tensor.h>
#include <ATen/ops/full.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/randn.h>

#include <catch2/catch.hpp>
#include <limits>

#include "scratch.h"
#include "weights/safetensors_writer.h"

using namespace t2v;
using namespace t2v::weights;
using t2v::test::message_of;
using t2v::test::Scratch;

namespace {

const char* const kFile = "diffusion_pytorch_model.safetensors";

WeightMap open(const Scratch& scratch, const std::vector<NamedTensor>& tensors,
               ModelPart part = ModelPart::kTransformer) {
  write_safetensors(scratch / kFile, tensors);
  return WeightMap::open(scratch.path(), part, "high_noise");
}

}  // namespace

TEST_CASE("tensors are found by their canonical names") {
  const Scratch scratch;
  const at::Tensor weight = at::randn({4, 2});
  const WeightMap map =
      open(scratch, {{"blocks.0.ffn.net.0.proj.weight", weight}, {"proj_out.bias", at::ones({3})}});
  map.check({{{"blocks.0.ffn.0.weight", {4, 2}}, {"head.head.bias", {3}}}, {}});
  CHECK(map.contains("head.head.bias"));
  CHECK_FALSE(map.contains("proj_out.bias"));
  CHECK(map.shape("blocks.0.ffn.0.weight") == std::vector<int64_t>{4, 2});
  CHECK(map.take("blocks.0.ffn.0.weight", at::kBFloat16).equal(weight.to(at::kBFloat16)));
  CHECK(map.take_rows("blocks.0.ffn.0.weight", std::vector<int64_t>{3}, at::kFloat)
            .equal(weight.narrow(0, 3, 1)));
  CHECK(map.count_blocks("blocks.") == 1);
  CHECK(map.count_blocks("none.") == 0);
  CHECK_THAT(message_of([&] { (void)map.shape("head.head.bias", 2); }),
             Catch::Contains("expected 2 dimensions"));
}

TEST_CASE("names in messages are those in the file") {
  const Scratch scratch;
  const WeightMap map = open(scratch, {{"blocks.3.ffn.net.0.proj.weight", at::ones({4, 2})}});
  CHECK(message_of([&] {
          map.check({{{"blocks.3.ffn.0.weight", {2, 4}}}, {}});
        }) == "high_noise: tensor 'blocks.3.ffn.net.0.proj.weight' is [4, 2], expected [2, 4] (" +
                  (scratch / kFile) + "); is this the checkpoint for --model?");
  CHECK_THAT(message_of([&] {
               map.check({{{"blocks.3.ffn.0.weight", {4, 2}}, {"head.modulation", {1}}}, {}});
             }),
             Catch::Contains("tensor 'scale_shift_table' is missing"));
  CHECK_THAT(message_of([&] { (void)map.take("blocks.0.norm3.bias", at::kFloat); }),
             Catch::Contains("tensor 'blocks.0.norm2.bias' is missing"));
}

TEST_CASE("native files keep native names in messages, prefixes are seen through") {
  const Scratch scratch;
  const WeightMap map = open(scratch, {{"model.diffusion_model.head.head.bias", at::ones({3})}});
  CHECK(map.contains("head.head.bias"));
  CHECK_THAT(message_of([&] {
               map.check({{{"head.head.bias", {3}}, {"blocks.0.norm3.bias", {1}}}, {}});
             }),
             Catch::Contains("'model.diffusion_model.blocks.0.norm3.bias' is missing"));
}

TEST_CASE("all problems come in one message: ten listed, all counted") {
  const Scratch scratch;
  std::vector<NamedTensor> tensors{{"extra", at::ones({1})}, {"encoder.ignored", at::ones({1})}};
  const WeightMap map = open(scratch, tensors);
  Expectations expected;
  expected.ignored_prefixes = {"encoder."};
  for (int i = 0; i < 11; ++i) expected.tensors.push_back({"missing." + std::to_string(i), {1}});
  const std::string message = message_of([&] { map.check(expected); });
  CHECK_THAT(message, Catch::Contains("12 tensors do not fit"));
  CHECK_THAT(message, Catch::Contains("and 2 more"));
  CHECK_THAT(message, Catch::Contains("'extra' is not expected"));
  CHECK_THAT(message, !Catch::Contains("ignored"));
  CHECK(message.find('\n') == std::string::npos);
}

TEST_CASE("misshapen tensors are listed before the others") {
  const Scratch scratch;
  const WeightMap map = open(scratch, {{"z", at::ones({1})}, {"extra", at::ones({1})}});
  Expectations expected;
  expected.tensors.push_back({"z", {2}});
  for (int i = 0; i < 30; ++i) expected.tensors.push_back({"missing." + std::to_string(i), {1}});
  CHECK_THAT(message_of([&] { map.check(expected); }),
             Catch::StartsWith("high_noise: 32 tensors do not fit: tensor 'z' is [1], expected "
                               "[2]; tensor 'missing.0'"));
}

TEST_CASE("integer weights without a scale are refused by name, 8-bit floats are not") {
  const Scratch scratch;
  const WeightMap map = open(
      scratch, {{"a", at::ones({2}).to(at::kFloat8_e4m3fn)}, {"b", at::ones({2}).to(at::kChar)}});
  const std::string message = message_of([&] { map.check({{{"a", {2}}, {"b", {2}}}, {}}); });
  CHECK_THAT(message, Catch::StartsWith("high_noise: tensor 'b' is stored as I8"));
  CHECK(map.take("a", at::kFloat).equal(at::ones({2})));
  CHECK_THAT(message_of([&] { (void)map.take("b", at::kFloat); }),
             Catch::Contains("'b' is stored as I8"));
}

TEST_CASE("small tensors with NaN or infinity are refused") {
  const Scratch scratch;
  const WeightMap map =
      open(scratch, {{"nan", at::full({3}, std::numeric_limits<double>::quiet_NaN())},
                     {"inf", at::full({3}, std::numeric_limits<double>::infinity())}});
  CHECK_THAT(message_of([&] { (void)map.take("nan", at::kFloat); }),
             Catch::Contains("tensor 'nan' holds NaN"));
  CHECK_THAT(message_of([&] { (void)map.take("inf", at::kBFloat16); }),
             Catch::Contains("tensor 'inf' holds NaN"));
}

TEST_CASE("two names for one weight are refused, but for the tied embedding of the text encoder") {
  const Scratch scratch;
  CHECK_THAT(message_of([&] {
               open(scratch, {{"proj_out.bias", at::ones({3})}, {"head.head.bias", at::ones({3})}});
             }),
             Catch::Contains("are the same weight"));
  const std::vector<NamedTensor> tied{{"shared.weight", at::ones({3, 2})},
                                      {"encoder.embed_tokens.weight", at::ones({3, 2})}};
  const WeightMap map = open(scratch, tied, ModelPart::kTextEncoder);
  map.check({{{"token_embedding.weight", {3, 2}}}, {}});
  CHECK_THAT(message_of([&] {
               open(scratch,
                    {{"shared.weight", at::ones({3, 2})},
                     {"encoder.embed_tokens.weight", at::ones({2, 3})}},
                    ModelPart::kTextEncoder);
             }),
             Catch::Contains("are the same weight"));
}
