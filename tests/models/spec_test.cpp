#include "models/spec.h"

#include <ATen/ops/zeros.h>

#include <array>
#include <catch2/catch.hpp>
#include <cstdio>
#include <fstream>
#include <map>

#include "models/tiny_fixture.h"
#include "models/umt5/encoder.h"
#include "models/vae/spec.h"
#include "models/wan/transformer.h"
#include "t2v/error.h"
#include "weights/safetensors_writer.h"

using namespace t2v;

namespace {

// The good config with one key replaced.
std::string with_key(const std::string& good_path, const std::string& key,
                     const std::string& value) {
  std::ifstream in(good_path);
  std::string text((std::istreambuf_iterator<char>(in)), std::istreambuf_iterator<char>());
  const size_t at = text.find("\"" + key + "\"");
  REQUIRE(at != std::string::npos);
  const size_t colon = text.find(':', at);
  size_t end = text.find_first_of(",}\n", colon);
  if (text.find('[', colon) < end) end = text.find(']', colon) + 1;
  text.replace(colon + 1, end - colon - 1, value);
  const std::string path = std::string(T2V_BINARY_DIR) + "/tests/spec_test.json";
  std::ofstream(path) << text;
  return path;
}

template <typename Read>
void check_refused(const std::string& path, const std::string& key, const Read& read) {
  INFO(key);
  try {
    static_cast<void>(read(path));
    FAIL("accepted");
  } catch (const Error& error) {
    CHECK(error.kind() == ErrorKind::kModel);
    CHECK_THAT(error.what(), Catch::Matchers::Contains(key));
  }
}

}  // namespace

TEST_CASE("impossible transformer configs are refused, naming the key") {
  const std::string good = testing::tiny_path("transformer/config.json");
  REQUIRE_NOTHROW(models::read_transformer_spec(good));
  for (const auto& [key, value] :
       std::vector<std::pair<std::string, std::string>>{{"num_attention_heads", "0"},
                                                        {"num_attention_heads", "-3"},
                                                        {"attention_head_dim", "7"},
                                                        {"attention_head_dim", "\"64\""},
                                                        {"ffn_dim", "1e18"},
                                                        {"num_layers", "2.5"},
                                                        {"num_layers", "100000000"},
                                                        {"text_dim", "null"},
                                                        {"freq_dim", "33"},
                                                        {"patch_size", "[2, 2, 2]"},
                                                        {"patch_size", "[1, 2]"},
                                                        {"patch_size", "4"},
                                                        {"eps", "0.5"},
                                                        {"qk_norm", "\"layer_norm\""}}) {
    check_refused(with_key(good, key, value), key, models::read_transformer_spec);
  }
}

TEST_CASE("impossible text encoder configs are refused, naming the key") {
  const std::string good = testing::tiny_path("text_encoder/config.json");
  REQUIRE_NOTHROW(models::read_text_encoder_spec(good));
  for (const auto& [key, value] :
       std::vector<std::pair<std::string, std::string>>{{"model_type", "\"bert\""},
                                                        {"vocab_size", "0"},
                                                        {"d_model", "-1"},
                                                        {"num_heads", "true"},
                                                        {"relative_attention_num_buckets", "6"},
                                                        {"relative_attention_max_distance", "8"},
                                                        {"feed_forward_proj", "\"relu\""}}) {
    check_refused(with_key(good, key, value), key, models::read_text_encoder_spec);
  }
}

namespace {

using weights::Expectations;
using weights::JsonFile;
using weights::ModelPart;
using weights::WeightMap;

// A file with exactly these tensors, all zero.
WeightMap file_with(const Expectations& expected, ModelPart part,
                    const std::map<std::string, std::string>& metadata = {}) {
  std::vector<weights::NamedTensor> tensors;
  for (const auto& tensor : expected.tensors)
    tensors.push_back({tensor.name, at::zeros(tensor.shape)});
  const std::string path = std::string(T2V_BINARY_DIR) + "/tests/spec_test.safetensors";
  weights::write_safetensors(path, tensors, metadata);
  return WeightMap::open(path, part, "part");
}

models::TransformerSpec small_transformer() {
  return {.in_channels = 16,
          .out_channels = 16,
          .num_heads = 2,
          .head_size = 128,
          .ffn_size = 96,
          .num_blocks = 3,
          .text_size = 48,
          .freq_size = 64};
}

const std::string kWanConfig =
    R"({"_class_name": "WanModel", "dim": 256, "eps": 1e-06, "ffn_dim": 96,
  "freq_dim": 64, "in_dim": 16, "model_type": "t2v", "num_heads": 2, "num_layers": 3, "out_dim": 16,
  "text_len": 512})";

std::string replaced(std::string text, const std::string& from, const std::string& to) {
  return text.replace(text.find(from), from.size(), to);
}

template <typename Work>
std::string message_of(const Work& work) {
  try {
    work();
  } catch (const Error& error) {
    CHECK(error.kind() == ErrorKind::kModel);
    return error.what();
  }
  return "";
}

}  // namespace

TEST_CASE("a transformer's dimensions come from its shapes") {
  const models::TransformerSpec spec = small_transformer();
  const WeightMap map =
      file_with(models::wan::Transformer::expectations(spec), ModelPart::kTransformer);
  CHECK(models::infer_transformer_spec(map) == spec);
  CHECK(models::transformer_spec(map, std::nullopt) == spec);
  const auto with = [&](const std::string& text) {
    return models::transformer_spec(map, JsonFile::parse(text, "config.json"));
  };
  CHECK(with(kWanConfig) == spec);
  models::TransformerSpec other_heads = spec;
  other_heads.num_heads = 4;
  other_heads.head_size = 64;
  CHECK(with(replaced(kWanConfig, "\"num_heads\": 2", "\"num_heads\": 4")) == other_heads);
}

TEST_CASE("a transformer's config that contradicts the shapes is refused with both") {
  const WeightMap map = file_with(models::wan::Transformer::expectations(small_transformer()),
                                  ModelPart::kTransformer);
  for (const auto& [from, to, key] : std::vector<std::array<std::string, 3>>{
           {"\"dim\": 256", "\"dim\": 512", "'dim' is 512, expected 256"},
           {"\"ffn_dim\": 96", "\"ffn_dim\": 97", "'ffn_dim' is 97, expected 96: tensor"},
           {"\"in_dim\": 16", "\"in_dim\": 36", "'in_dim' is 36"},
           {"\"out_dim\": 16", "\"out_dim\": 48", "'out_dim' is 48"},
           {"\"num_layers\": 3", "\"num_layers\": 4", "'num_layers' is 4, expected 3"},
           {"\"freq_dim\": 64", "\"freq_dim\": 256", "'freq_dim' is 256"}}) {
    const std::string config = replaced(kWanConfig, from, to);
    const std::string message = message_of(
        [&] { (void)models::transformer_spec(map, JsonFile::parse(config, "config.json")); });
    CHECK_THAT(message, Catch::Contains(key));
    CHECK_THAT(message, Catch::Contains("(config.json)"));
  }
}

TEST_CASE("heads that shapes cannot tell are asked for") {
  models::TransformerSpec spec = small_transformer();
  spec.num_heads = 3;
  spec.head_size = 32;
  const Expectations expected = models::wan::Transformer::expectations(spec);
  const WeightMap map = file_with(expected, ModelPart::kTransformer);
  CHECK_THAT(message_of([&] { (void)models::infer_transformer_spec(map); }),
             Catch::Contains("config.json") && Catch::Contains("96 channels"));
  const WeightMap told = file_with(expected, ModelPart::kTransformer, {{"num_heads", "3"}});
  CHECK(models::infer_transformer_spec(told) == spec);
  const WeightMap wrong = file_with(expected, ModelPart::kTransformer, {{"num_heads", "5"}});
  CHECK_THROWS(models::infer_transformer_spec(wrong));
}

TEST_CASE("a text encoder's dimensions come from its shapes") {
  const models::TextEncoderSpec spec{.vocab_size = 70,
                                     .size = 48,
                                     .num_heads = 4,
                                     .head_size = 8,
                                     .ffn_size = 40,
                                     .num_blocks = 2,
                                     .num_buckets = 32};
  const WeightMap map =
      file_with(models::umt5::Encoder::expectations(spec), ModelPart::kTextEncoder);
  CHECK(models::infer_text_encoder_spec(map) == spec);
  const std::string config = R"({"model_type": "umt5", "vocab_size": 70, "d_model": 48,
    "num_heads": 4, "d_kv": 8, "d_ff": 40, "num_layers": 2})";
  CHECK(models::text_encoder_spec(map, JsonFile::parse(config, "c")) == spec);
  CHECK_THAT(message_of([&] {
               const auto wrong = replaced(config, "\"d_kv\": 8", "\"d_kv\": 16");
               (void)models::text_encoder_spec(map, JsonFile::parse(wrong, "c"));
             }),
             Catch::Contains("'d_kv' is 16, expected 8"));
}

TEST_CASE("a VAE's structure comes from its shapes, the statistics from its kind") {
  for (const bool residual : {false, true}) {
    models::vae::VaeSpec spec;
    spec.z_dim = residual ? 48 : 16;
    spec.patch_size = residual ? 2 : 1;
    spec.out_channels = residual ? 12 : 3;
    spec.is_residual = residual;
    spec.decoder_base_dim = 4;
    spec.num_res_blocks = 2;
    spec.dim_mult = {1, 2, 4, 4};
    spec.upsample_time = {true, true, false};
    const WeightMap map = file_with(models::vae::decoder_tensors(spec), ModelPart::kVae);
    const models::vae::VaeSpec told = models::vae::infer_vae_spec(map);
    CHECK(told.z_dim == spec.z_dim);
    CHECK(told.is_residual == residual);
    CHECK(told.num_res_blocks == 2);
    CHECK(told.dim_mult == spec.dim_mult);
    CHECK(told.upsample_time == spec.upsample_time);
    CHECK(told.decoder_base_dim == 4);
    CHECK(told.spatial_factor() == (residual ? 16 : 8));
    CHECK(told.temporal_factor() == 4);
    CHECK(told.latents_mean.size() == static_cast<size_t>(spec.z_dim));
    CHECK(told.latents_std.size() == static_cast<size_t>(spec.z_dim));
    CHECK_NOTHROW(map.check(models::vae::decoder_tensors(told)));
  }
}
