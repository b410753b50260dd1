#include "weights/lora.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/full.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/zeros.h>

#include <catch2/catch.hpp>
#include <limits>
#include <utility>

#include "scratch.h"
#include "weights/safetensors_writer.h"

using namespace t2v;
using namespace t2v::weights;
using t2v::test::message_of;
using t2v::test::Scratch;

namespace {

const std::vector<LoraTarget> kTargets = {{"patch_embedding.weight", {6, 2, 1, 2, 2}},
                                          {"patch_embedding.bias", {6}},
                                          {"blocks.0.modulation", {1, 6, 6}},
                                          {"blocks.0.self_attn.q.weight", {6, 6}},
                                          {"blocks.0.self_attn.q.bias", {6}},
                                          {"blocks.0.self_attn.o.weight", {6, 6}},
                                          {"blocks.0.self_attn.norm_q.weight", {6}},
                                          {"blocks.0.norm3.weight", {6}},
                                          {"blocks.0.norm3.bias", {6}},
                                          {"blocks.0.ffn.0.weight", {8, 6}},
                                          {"blocks.0.ffn.2.weight", {6, 8}},
                                          {"head.modulation", {1, 2, 6}},
                                          {"head.head.weight", {4, 6}},
                                          {"text_embedding.0.weight", {6, 3}}};

using Tensors = std::vector<NamedTensor>;

class Folder {
 public:
  std::string write(const std::string& name, const Tensors& tensors,
                    const std::map<std::string, std::string>& metadata = {}) const {
    write_safetensors(scratch_ / name, tensors, metadata);
    return scratch_ / name;
  }
  [[nodiscard]] LoraSet open(const std::vector<LoraFile>& files, LoraOptions options = {}) const {
    return LoraSet::open(*storage_, files, kTargets, options);
  }
  [[nodiscard]] LoraSet open(const Tensors& tensors, LoraOptions options = {}) const {
    return open({{.path = write("one.safetensors", tensors), .strength = 1.0}}, options);
  }
  [[nodiscard]] std::string refusal(const Tensors& tensors) const {
    return message_of([&] { static_cast<void>(open(tensors)); });
  }
  [[nodiscard]] const Scratch& scratch() const { return scratch_; }

 private:
  Scratch scratch_;
  std::shared_ptr<const Storage> storage_ = open_storage();
};

// alpha/r * B * A in fp64.
at::Tensor product(const at::Tensor& down, const at::Tensor& up, double scale) {
  return at::matmul(up.to(at::kDouble).reshape({up.size(0), -1}),
                    down.to(at::kDouble).reshape({down.size(0), -1})) *
         scale;
}

double distance(const at::Tensor& got, const at::Tensor& wanted) {
  return (got.to(at::kDouble).reshape(wanted.sizes()) - wanted).abs().max().item<double>();
}

const std::string kQ = "blocks.0.self_attn.q.weight";

}  // namespace

TEST_CASE("deltas equal the product in double precision, summed over files") {
  const Folder folder;
  const at::Tensor down = at::randn({2, 6});
  const at::Tensor up = at::randn({6, 2});
  const at::Tensor down5 = at::randn({5, 6}).to(at::kBFloat16);  // ranks may differ
  const at::Tensor up5 = at::randn({6, 5}).to(at::kBFloat16);
  const std::string one =
      folder.write("1.safetensors", {{"blocks.0.self_attn.q.lora_down.weight", down},
                                     {"blocks.0.self_attn.q.lora_up.weight", up},
                                     {"blocks.0.self_attn.q.alpha", at::full({}, 0.5)}});
  const std::string two = folder.write(
      "2.safetensors",
      {{"blocks.0.self_attn.q.lora_A.weight", down5}, {"blocks.0.self_attn.q.lora_B.weight", up5}});
  const LoraSet set = folder.open({{one, 0.8}, {two, -1.5}});
  CHECK(set.num_deltas() == 1);
  CHECK(set.bytes() == 4 * 24 + 2 * 60);
  CHECK(set.contains(kQ));
  CHECK_FALSE(set.contains("blocks.0.ffn.0.weight"));
  const at::Tensor wanted = product(down, up, 0.8 * 0.25) + product(down5, up5, -1.5);
  CHECK(set.delta(kQ).scalar_type() == at::kFloat);
  CHECK(distance(set.delta(kQ), wanted) < 1e-5);
  const auto branch = set.branch(kQ);
  REQUIRE(branch);
  CHECK(branch->down.sizes() == at::IntArrayRef({7, 6}));
  CHECK(branch->up.sizes() == at::IntArrayRef({6, 7}));
  CHECK(distance(at::matmul(branch->up, branch->down), wanted) < 1e-5);
  CHECK_FALSE(set.branch("blocks.0.ffn.0.weight"));
  CHECK(distance(folder.open({{two, -1.5}, {one, 0.8}}).delta(kQ), wanted) < 1e-5);
}

TEST_CASE("strength 0 changes nothing, a strength and its opposite cancel") {
  const Folder folder;
  const std::string path =
      folder.write("x.safetensors", {{"blocks.0.self_attn.q.lora_A.weight", at::randn({3, 6})},
                                     {"blocks.0.self_attn.q.lora_B.weight", at::randn({6, 3})}});
  CHECK(folder.open({{path, 0.0}}).empty());
  const LoraSet both = folder.open({{path, 0.7}, {path, -0.7}});
  CHECK(both.delta(kQ).abs().max().item<double>() < 1e-6);
  const at::Tensor weight = at::randn({6, 6});
  const at::Tensor there = weight + folder.open({{path, 0.7}}).delta(kQ);
  CHECK((there + folder.open({{path, -0.7}}).delta(kQ) - weight).abs().max().item<double>() < 1e-6);
}

TEST_CASE("every prefix and suffix means the same") {
  const Folder folder;
  const at::Tensor down = at::randn({2, 6});
  const at::Tensor up = at::randn({6, 2});
  const at::Tensor alpha = at::full({}, 1.0);
  const at::Tensor wanted = folder
                                .open({{"blocks.0.self_attn.q.lora_down.weight", down},
                                       {"blocks.0.self_attn.q.lora_up.weight", up},
                                       {"blocks.0.self_attn.q.alpha", alpha}})
                                .delta(kQ);
  CHECK(distance(wanted, product(down, up, 0.5)) < 1e-6);
  const std::vector<std::pair<std::string, std::string>> suffixes = {
      {".lora_down.weight", ".lora_up.weight"},
      {".lora_A.weight", ".lora_B.weight"},
      {".lora_A.default.weight", ".lora_B.default.weight"},
      {".lora_A.my-adapter.weight", ".lora_B.my-adapter.weight"},
      {".lora.down.weight", ".lora.up.weight"},
      {"_lora.down.weight", "_lora.up.weight"},
      {".lora_linear_layer.down.weight", ".lora_linear_layer.up.weight"},
      {".lora_A", ".lora_B"},
      {".lora_down", ".lora_up"}};
  const std::vector<std::string> layers = {"blocks.0.self_attn.q",
                                           "blocks.0.attn1.to_q",
                                           "blocks.0.attn1.processor.to_q",
                                           "diffusion_model.blocks.0.self_attn.q",
                                           "model.diffusion_model.blocks.0.self_attn.q",
                                           "transformer.blocks.0.attn1.to_q",
                                           "model.blocks.0.self_attn.q",
                                           "unet.blocks.0.self_attn.q",
                                           "base_model.model.blocks.0.self_attn.q",
                                           "base_model.model.diffusion_model.blocks.0.self_attn.q",
                                           "generator.blocks.0.self_attn.q",
                                           "generator.model.blocks.0.self_attn.q",
                                           "lora_unet_blocks_0_self_attn_q",
                                           "lora_unet_blocks_0_attn1_to_q"};
  for (const std::string& layer : layers) {
    for (const auto& [a, b] : suffixes) {
      INFO(layer << a);
      const LoraSet set =
          folder.open({{layer + a, down}, {layer + b, up}, {layer + ".alpha", alpha}});
      REQUIRE(set.num_deltas() == 1);
      CHECK(set.delta(kQ).equal(wanted));
    }
  }
}

TEST_CASE("names with dots inside and framework names resolve") {
  const Folder folder;
  const at::Tensor down = at::randn({2, 6});
  const at::Tensor up = at::randn({8, 2});
  for (const std::string layer :
       {"blocks.0.ffn.0", "blocks.0.ffn.net.0.proj", "lora_unet_blocks_0_ffn_0",
        "lora_unet_blocks_0_ffn_net_0_proj"}) {
    INFO(layer);
    CHECK(folder.open({{layer + ".lora_A.weight", down}, {layer + ".lora_B.weight", up}})
              .contains("blocks.0.ffn.0.weight"));
  }
  for (const std::string layer : {"blocks.0.attn1.processor.to_out", "blocks.0.attn1.to_out.0"}) {
    INFO(layer);
    CHECK(folder
              .open({{layer + "_lora.down.weight", down},
                     {layer + "_lora.up.weight", at::randn({6, 2})}})
              .contains("blocks.0.self_attn.o.weight"));
  }
}

TEST_CASE("full deltas of weights, biases, norms and modulation") {
  const Folder folder;
  const at::Tensor matrix = at::randn({6, 6}).to(at::kHalf);
  const LoraSet set = folder.open(
      {{.path = folder.write("x.safetensors",
                             {{"diffusion_model.blocks.0.self_attn.q.diff", matrix},
                              {"diffusion_model.blocks.0.self_attn.q.diff_b", at::ones({6})},
                              {"diffusion_model.blocks.0.norm3.diff", at::ones({6})},
                              {"diffusion_model.blocks.0.norm3.diff_b", at::ones({6})},
                              {"diffusion_model.blocks.0.self_attn.norm_q.diff", at::ones({6})},
                              {"diffusion_model.blocks.0.diff_m", at::ones({1, 6, 6})},
                              {"diffusion_model.head.diff_m", at::ones({1, 2, 6})},
                              {"diffusion_model.patch_embedding.diff", at::ones({6, 2, 1, 2, 2})},
                              {"diffusion_model.patch_embedding.diff_b", at::ones({6})}}),
        .strength = 2.0}});
  CHECK(set.num_deltas() == 9);
  CHECK(set.delta(kQ).equal(matrix.to(at::kFloat) * 2));
  for (const char* name : {"blocks.0.self_attn.q.bias", "blocks.0.norm3.weight",
                           "blocks.0.norm3.bias", "blocks.0.self_attn.norm_q.weight"}) {
    CHECK(set.delta(name).equal(at::full({6}, 2.0)));
  }
  CHECK(set.delta("blocks.0.modulation").equal(at::full({1, 6, 6}, 2.0)));
  CHECK(set.delta("head.modulation").equal(at::full({1, 2, 6}, 2.0)));
  CHECK(set.delta("patch_embedding.weight").equal(at::full({6, 2, 1, 2, 2}, 2.0)));
  CHECK_THAT(message_of([&] { (void)set.branch(kQ); }), Catch::Contains("full delta"));
  CHECK(set.is_full(kQ));
}

TEST_CASE("convolution factors are flattened") {
  const Folder folder;
  const at::Tensor down = at::randn({3, 2, 1, 2, 2});
  const at::Tensor up = at::randn({6, 3, 1, 1, 1});
  const LoraSet set = folder.open(
      {{"patch_embedding.lora_down.weight", down}, {"patch_embedding.lora_up.weight", up}});
  const at::Tensor delta = set.delta("patch_embedding.weight");
  CHECK(delta.sizes() == at::IntArrayRef({6, 2, 1, 2, 2}));
  CHECK(distance(delta, product(down, up, 1).reshape({6, 2, 1, 2, 2})) < 1e-6);
}

TEST_CASE("a missing alpha comes from metadata, else the scale is 1") {
  const Folder folder;
  const at::Tensor down = at::ones({2, 6});
  const at::Tensor up = at::ones({6, 2});
  const Tensors tensors = {{"blocks.0.self_attn.q.lora_A.weight", down},
                           {"blocks.0.self_attn.q.lora_B.weight", up}};
  const auto first = [&](const std::string& path) {
    return folder.open({{path, 1.0}}).delta(kQ).select(0, 0).select(0, 0).item<double>();
  };
  CHECK(first(folder.write("none.safetensors", tensors)) == 2.0);
  CHECK(first(folder.write("own.safetensors", tensors, {{"lora_alpha", "4"}})) == 4.0);
  CHECK(first(folder.write(
            "json.safetensors", tensors,
            {{"lora_adapter_metadata", R"({"transformer.lora_alpha": 1, "r": 2})"}})) == 1.0);
  const std::string adapter = folder.write("adapter_model.safetensors", tensors);
  CHECK(first(adapter) == 2.0);
  test::write_text(folder.scratch() / "adapter_config.json", R"({"lora_alpha": 8, "r": 2})");
  CHECK(first(adapter) == 8.0);
  test::write_text(folder.scratch() / "adapter_config.json",
                   R"({"lora_alpha": 8, "use_rslora": true})");
  CHECK_THAT(message_of([&] { first(adapter); }), Catch::Contains("use_rslora"));
  const std::string broken = folder.write("b.safetensors", tensors, {{"lora_alpha", "many"}});
  CHECK_THAT(message_of([&] { first(broken); }), Catch::Contains("b.safetensors, metadata"));
}

TEST_CASE("what does not fit is listed, ten and the count") {
  const Folder folder;
  Tensors tensors = {{"blocks.0.ffn.0.lora_A.weight", at::ones({2, 6})},
                     {"blocks.0.ffn.2.lora_A.weight", at::ones({2, 6})},
                     {"blocks.0.ffn.2.lora_B.weight", at::ones({6, 2})},
                     {"blocks.0.norm3.diff", at::ones({5})},
                     {"blocks.0.self_attn.o.alpha", at::ones({1})},
                     {"blocks.0.weight", at::ones({1})}};
  for (int i = 10; i < 20; ++i)
    tensors.push_back({"blocks." + std::to_string(i) + ".ffn.0.diff", at::ones({1})});
  const std::string message = folder.refusal(tensors);
  CHECK_THAT(message, Catch::StartsWith("LoRA: 15 tensors do not fit: "));
  CHECK_THAT(message, Catch::Contains("; and 5 more (") && Catch::Contains("--lora-lenient"));
  CHECK(message.find('\n') == std::string::npos);
  tensors.resize(6);
  const std::string fewer = folder.refusal(tensors);
  CHECK_THAT(fewer, Catch::Contains("'blocks.0.ffn.0.lora_A.weight' has no up factor"));
  CHECK_THAT(fewer, Catch::Contains("'blocks.0.ffn.2.lora_A.weight' is [2, 6] and tensor "
                                    "'blocks.0.ffn.2.lora_B.weight' [6, 2], expected [r, 8] and "
                                    "[6, r]"));
  CHECK_THAT(fewer, Catch::Contains("'blocks.0.norm3.diff' is [5], expected [6]"));
  CHECK_THAT(fewer, Catch::Contains("'blocks.0.self_attn.o.alpha' has no factors"));
  CHECK_THAT(fewer, Catch::Contains("'blocks.0.weight' has no name of a LoRA tensor"));
}

TEST_CASE("lenient: the rest is used, with a warning") {
  const Folder folder;
  const Tensors tensors = {{"blocks.0.ffn.2.lora_A.weight", at::ones({2, 6})},
                           {"blocks.0.ffn.2.lora_B.weight", at::ones({6, 2})},
                           {"blocks.0.self_attn.q.lora_A.weight", at::ones({2, 6})},
                           {"blocks.0.self_attn.q.lora_B.weight", at::ones({6, 2})},
                           {"blocks.7.norm3.diff", at::ones({6})}};
  const LoraSet set = folder.open(tensors, {.lenient = true});
  CHECK(set.num_deltas() == 1);
  CHECK(set.contains(kQ));
  REQUIRE(set.warnings().size() == 1);
  CHECK_THAT(set.warnings()[0], Catch::Contains("2 tensors do not fit"));
  CHECK_THAT(message_of([&] {
               static_cast<void>(folder.open({{"x.diff", at::ones({1})}}, {.lenient = true}));
             }),
             Catch::Contains("no tensor fits this model"));
}

TEST_CASE("other methods are refused by name, also when lenient") {
  const Folder folder;
  for (const auto& [name, method] : std::vector<std::pair<std::string, std::string>>{
           {"blocks.0.ffn.0.dora_scale", "DoRA"},
           {"blocks.0.ffn.0.lora_magnitude_vector", "DoRA"},
           {"blocks.0.ffn.0.lokr_w1", "LoKr"},
           {"blocks.0.ffn.0.hada_w1_a", "LoHa"},
           {"blocks.0.ffn.0.reshape_weight", "a change of shape"},
           {"blocks.0.self_attn.local_attn.proj_l.weight", "linear-attention"}}) {
    INFO(name);
    CHECK_THAT(folder.refusal({{name, at::ones({1})}}),
               Catch::Contains(name) && Catch::Contains(method));
    CHECK_THAT(message_of([&] {
                 static_cast<void>(folder.open({{name, at::ones({1})}}, {.lenient = true}));
               }),
               Catch::Contains(method));
  }
}

TEST_CASE("broken factors are refused") {
  const Folder folder;
  const auto with = [&](const at::Tensor& down, const at::Tensor& up) {
    return folder.refusal(
        {{"blocks.0.self_attn.q.lora_A.weight", down}, {"blocks.0.self_attn.q.lora_B.weight", up}});
  };
  CHECK(with(at::ones({2, 6}), at::ones({6, 2})).empty());
  CHECK_THAT(with(at::ones({2, 6}), at::ones({6, 3})), Catch::Contains("expected [r, 6]"));
  CHECK_THAT(with(at::ones({0, 6}), at::ones({6, 0})), Catch::Contains("expected [r, 6]"));
  CHECK_THAT(with(at::ones({12}), at::ones({12})), Catch::Contains("expected [r, 6]"));
  CHECK_THAT(with(at::ones({2, 6}).to(at::kChar), at::ones({6, 2})),
             Catch::Contains("is stored as I8"));
  CHECK_THAT(with(at::full({2, 6}, std::numeric_limits<double>::infinity()), at::ones({6, 2})),
             Catch::Contains("infinite"));
  CHECK_THAT(folder.refusal({{"blocks.0.self_attn.q.diff", at::ones({6, 6})},
                             {"transformer.blocks.0.attn1.to_q.diff", at::ones({6, 6})}}),
             Catch::Contains("are the same delta"));
  CHECK_THAT(message_of([&] {
               static_cast<void>(folder.open({{folder.scratch() / "absent", 1.0}}));
             }),
             Catch::StartsWith("cannot open LoRA: no such file"));
}

TEST_CASE("a patch embedding for other input channels is left out") {
  const Folder folder;
  const LoraSet set = folder.open({{"patch_embedding.diff", at::ones({6, 9, 1, 2, 2})},
                                   {"patch_embedding.diff_b", at::ones({6})}});
  CHECK_FALSE(set.contains("patch_embedding.weight"));
  CHECK(set.contains("patch_embedding.bias"));
  REQUIRE(set.warnings().size() == 1);
  CHECK_THAT(set.warnings()[0], Catch::Contains("for 9 input channels, the model has 2"));
}

TEST_CASE("files of both experts are divided by prefix") {
  const Folder folder;
  const Tensors both = {{"transformer.blocks.0.norm3.diff", at::ones({6})},
                        {"transformer_2.blocks.0.norm3.diff", at::full({6}, 2.0)}};
  const std::string name = "blocks.0.norm3.weight";
  const auto value = [&](const Tensors& tensors, LoraExpert expert) {
    return folder.open(tensors, {.expert = expert}).delta(name).select(0, 0).item<double>();
  };
  CHECK(value(both, LoraExpert::kHighNoise) == 1);
  CHECK(value(both, LoraExpert::kLowNoise) == 2);
  CHECK(value(both, LoraExpert::kBoth) == 1);
  CHECK(folder.open(both).warnings().size() == 1);
  const LoraSet none = folder.open({both[1]}, {.expert = LoraExpert::kHighNoise});
  CHECK(none.empty());
  REQUIRE(none.warnings().size() == 1);
  CHECK_THAT(none.warnings()[0], Catch::Contains("nothing in it is for the high-noise expert"));
  const Tensors one = {both[0]};
  CHECK(value(one, LoraExpert::kLowNoise) == 1);  // one expert's names say nothing
}

TEST_CASE("the expert of a file by its path") {
  CHECK(lora_expert_of("x/style.safetensors") == LoraExpert::kBoth);
  CHECK(lora_expert_of("x/high_noise_model.safetensors") == LoraExpert::kHighNoise);
  CHECK(lora_expert_of("low_noise/x.safetensors") == LoraExpert::kLowNoise);
  CHECK(lora_expert_of("high_noise/Low-Noise.safetensors") == LoraExpert::kLowNoise);
  CHECK(lora_expert_of("s3://b/HighNoise.safetensors") == LoraExpert::kHighNoise);
}
