#include "weights/model_folder.h"

#include <ATen/core/Tensor.h>
#include <ATen/ops/ones.h>

#include <catch2/catch.hpp>

#include "scratch.h"
#include "weights/model_scan.h"
#include "weights/safetensors_writer.h"
#include "weights/tensor_table.h"

using namespace t2v;
using namespace t2v::weights;
using t2v::test::message_of;
using t2v::test::Scratch;
using t2v::test::write_text;

namespace {

std::string index_text(const std::string& more = "") {
  return R"({"_class_name":"WanPipeline","boundary_ratio":0.875,"expand_timesteps":false,
    "scheduler":["diffusers","UniPCMultistepScheduler"],"text_encoder":["transformers","UMT5EncoderModel"],
    "tokenizer":["transformers","T5Tokenizer"],"vae":["diffusers","AutoencoderKLWan"],
    "transformer":["diffusers","WanTransformer3DModel"])" +
         more + "}";
}

const std::string kTwo = R"(,"transformer_2":["diffusers","WanTransformer3DModel"])";

void write_model(const Scratch& scratch, const std::string& index = index_text()) {
  write_text(scratch / "model_index.json", index);
  for (const std::string component : {"transformer", "vae", "text_encoder"}) {
    write_text(scratch / (component + "/config.json"), "{}");
    write_safetensors(scratch / (component + "/model.safetensors"),
                      {{"proj_out.bias", at::ones({3})}});
  }
  write_text(scratch / "tokenizer/spiece.model", "x");
  write_text(scratch / "scheduler/scheduler_config.json", "{}");
}

ModelFolder open(const std::string& path, const ComponentPaths& components = {}) {
  return find_model(*open_storage(), path, components);
}

std::string refusal(const std::string& path, const ComponentPaths& components = {}) {
  return message_of([&] { open(path, components); });
}

// Files that are told by their names of tensors; the names in them, not those of the files, count.
void write_part(const std::string& path, const std::string& tensor) {
  std::filesystem::create_directories(std::filesystem::path(path).parent_path());
  write_safetensors(path, {{tensor, at::ones({3})}});
}
void write_transformer(const std::string& path) {
  write_part(path, "model.diffusion_model.blocks.0.self_attn.q.weight");
}
void write_text_encoder(const std::string& path) {
  write_part(path, "encoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight");
}
void write_vae(const std::string& path) { write_part(path, "decoder.head.0.gamma"); }

}  // namespace

TEST_CASE("a whole folder: paths and facts") {
  const Scratch scratch;
  write_model(scratch);
  const ModelFolder folder = open(scratch.path());
  CHECK(folder.class_name == "WanPipeline");
  CHECK(folder.transformer.path == scratch / "transformer");
  CHECK(folder.transformer.config == scratch / "transformer/config.json");
  CHECK(folder.layout == "diffusers");
  CHECK_FALSE(folder.transformer_2);
  CHECK(folder.tokenizer_model == scratch / "tokenizer/spiece.model");
  CHECK(folder.tokenizer_config.empty());
  CHECK(folder.scheduler_config == scratch / "scheduler/scheduler_config.json");
  CHECK(folder.t2v_json.empty());
  CHECK(folder.boundary_ratio == 0.875);
  CHECK_FALSE(folder.expand_timesteps);
}

TEST_CASE("two experts, own defaults") {
  const Scratch scratch;
  write_model(scratch, index_text(kTwo));
  CHECK_THAT(refusal(scratch.path()), Catch::Contains("component 'transformer_2'"));
  write_text(scratch / "transformer_2/config.json", "{}");
  write_text(scratch / "t2v.json", "{}");
  const ModelFolder folder = open(scratch.path());
  CHECK(folder.transformer_2.path == scratch / "transformer_2");
  CHECK(folder.t2v_json == scratch / "t2v.json");
  write_model(scratch, index_text(R"(,"transformer_2":[null,null])"));
  CHECK_FALSE(open(scratch.path()).transformer_2);
}

TEST_CASE("what stands in its place is named") {
  const Scratch scratch;
  CHECK_THAT(refusal(scratch / "absent"), Catch::Contains("no such model"));
  CHECK_THAT(refusal(""), Catch::Contains("no such model"));
  CHECK_THAT(refusal(scratch.path()), Catch::Contains("the folder is empty"));
  write_text(scratch / "a.gguf", "GGUF\3aaaaaaaaaaaaaaaa");
  CHECK_THAT(refusal(scratch / "a.gguf"), Catch::Contains("GGUF"));
  CHECK_THAT(refusal(scratch.path()), Catch::Contains("a.gguf"));
  write_text(scratch / "other/readme", "x");
  CHECK_THAT(refusal(scratch / "other"), Catch::Contains("model_index.json"));
  write_text(scratch / "other/text", "short");
  CHECK_THAT(refusal(scratch / "other/text"), Catch::Contains("other/text"));
  write_vae(scratch / "single/vae.safetensors");
  CHECK_THAT(refusal(scratch / "single"), Catch::Contains("one component of a model"));
  CHECK_THAT(refusal(scratch / "single/vae.safetensors"),
             Catch::Contains("this file is a Wan VAE"));
}

TEST_CASE("the original Wan layout") {
  const Scratch scratch;
  for (const std::string expert : {"high", "low"}) {
    write_transformer(scratch / (expert + "_noise_model/diffusion_pytorch_model.safetensors"));
    write_text(scratch / (expert + "_noise_model/config.json"), R"({"in_dim": 16})");
  }
  write_text_encoder(scratch / "models_t5_umt5-xxl-enc-bf16.pth");  // content counts
  write_text(scratch / "high_noise_model/configuration.json", "{}");
  CHECK_THAT(refusal(scratch.path()), Catch::Contains("the original Wan layout without a VAE"));
  write_vae(scratch / "Wan2.1_VAE.pth");
  write_text(scratch / "google/umt5-xxl/spiece.model", "x");
  write_text(scratch / "google/umt5-xxl/tokenizer_config.json", "{}");
  const ModelFolder folder = open(scratch.path());
  CHECK(folder.layout == "wan");
  CHECK(folder.transformer.path ==
        scratch / "high_noise_model/diffusion_pytorch_model.safetensors");
  CHECK(folder.transformer.config == scratch / "high_noise_model/config.json");
  CHECK(folder.transformer.checkpoint != nullptr);
  CHECK(folder.transformer_2.path ==
        scratch / "low_noise_model/diffusion_pytorch_model.safetensors");
  CHECK(folder.text_encoder.path == scratch / "models_t5_umt5-xxl-enc-bf16.pth");
  CHECK(folder.text_encoder.config.empty());
  CHECK(folder.vae.path == scratch / "Wan2.1_VAE.pth");
  CHECK(folder.tokenizer_model == scratch / "google/umt5-xxl/spiece.model");
  CHECK(folder.tokenizer_config == scratch / "google/umt5-xxl/tokenizer_config.json");
  std::filesystem::remove_all(scratch / "low_noise_model");
  CHECK_THAT(refusal(scratch.path()), Catch::Contains("without a low-noise transformer"));
}

TEST_CASE("a ComfyUI folder: only its own places, experts by their names") {
  const Scratch scratch;
  for (const std::string root : {"", "split_files/"}) {
    const std::string at = scratch / root;
    write_transformer(at + "diffusion_models/wan2.2_t2v_low_noise_14B.safetensors");
    write_transformer(at + "diffusion_models/wan2.2_t2v_high_noise_14B.safetensors");
    write_text_encoder(at + "text_encoders/umt5.safetensors");
    write_part(at + "text_encoders/clip_l.safetensors", "text_model.encoder.layers.0.weight");
    write_vae(at + "vae/wan_2.1_vae.safetensors");
    write_transformer(at + "checkpoints/other.safetensors");
    const ModelFolder folder = open(scratch.path());
    CHECK(folder.layout == "comfyui");
    CHECK(folder.transformer.path == at + "diffusion_models/wan2.2_t2v_high_noise_14B.safetensors");
    CHECK(folder.transformer_2.path ==
          at + "diffusion_models/wan2.2_t2v_low_noise_14B.safetensors");
    CHECK(folder.text_encoder.path == at + "text_encoders/umt5.safetensors");
    CHECK(folder.tokenizer_model.empty());
    if (!root.empty()) continue;
    // One of its files is as good as the folder: the counterpart is found by its name.
    for (const std::string level : {"high", "low"}) {
      const std::string file =
          at + "diffusion_models/wan2.2_t2v_" + level + "_noise_14B.safetensors";
      CHECK(open(file).transformer.path == folder.transformer.path);
      CHECK(open(file).transformer_2.path == folder.transformer_2.path);
    }
    std::filesystem::remove_all(scratch / "diffusion_models");
  }
}

TEST_CASE("several candidates are listed with the flag that chooses") {
  const Scratch scratch;
  write_transformer(scratch / "wan-bf16.safetensors");
  write_transformer(scratch / "wan-fp8.safetensors");
  write_text_encoder(scratch / "t5.safetensors");
  write_vae(scratch / "vae.safetensors");
  const std::string message = refusal(scratch.path());
  for (const char* word : {"wan-bf16.safetensors", "wan-fp8.safetensors", "--transformer"})
    CHECK_THAT(message, Catch::Contains(word));
  const std::string chosen = scratch / "wan-fp8.safetensors";
  CHECK(open(scratch.path(), {.transformer = chosen}).transformer.path == chosen);
  CHECK(open(chosen).transformer.path == chosen);
  CHECK(open(chosen).layout == "files");
  write_vae(scratch / "other/vae.safetensors");
  CHECK_THAT(refusal(chosen), Catch::Contains("choose one with --vae"));
  write_text_encoder(scratch / "t5.gguf");
  CHECK_THAT(refusal(chosen, {.vae = scratch / "other"}), Catch::Contains("--text-encoder"));
}

TEST_CASE("components given by flags replace any part") {
  const Scratch scratch;
  write_model(scratch, index_text(kTwo));
  for (const char* part : {"transformer_2", "vae"}) std::filesystem::remove_all(scratch / part);
  write_transformer(scratch / "x/low.safetensors");
  write_vae(scratch / "x/vae.safetensors");
  write_text_encoder(scratch / "t5.gguf");
  const ModelFolder folder = open(scratch.path(), {.transformer_low = scratch / "x/low.safetensors",
                                                   .text_encoder = scratch / "t5.gguf",
                                                   .vae = scratch / "x"});
  CHECK(folder.transformer_2.path == scratch / "x/low.safetensors");
  CHECK(folder.vae.path == scratch / "x/vae.safetensors");
  CHECK(folder.text_encoder.path == scratch / "t5.gguf");
  CHECK(folder.text_encoder.config.empty());
  CHECK(folder.transformer.path == scratch / "transformer");
  CHECK_THAT(refusal(scratch.path(), {.transformer_low = scratch / "x/vae.safetensors"}),
             Catch::Contains("--transformer-low: this file is a Wan VAE"));
  CHECK_THAT(refusal(scratch.path(), {.vae = scratch / "nothing"}), Catch::Contains("--vae"));
  // Without --model, when nothing is missing.
  const ComponentPaths all{.transformer = scratch / "x/low.safetensors",
                           .text_encoder = scratch / "t5.gguf",
                           .vae = scratch / "x/vae.safetensors",
                           .tokenizer = scratch.path()};
  CHECK(open("", all).tokenizer_model == scratch / "tokenizer/spiece.model");
  CHECK_FALSE(open("", all).transformer_2);
}

TEST_CASE("experts are told by words in names") {
  for (const char* name :
       {"wan2.2_t2v_high_noise_14B.gguf", "Wan2.2-T2V-A14B-HighNoise-Q4_K_M.gguf",
        "wan-high.safetensors", "HighNoise/model.gguf", "a/high_noise_model/x.pth"})
    CHECK(noise_level_of(name) == NoiseLevel::kHigh);
  for (const char* name : {"x_low_noise.safetensors", "LowNoise/model.gguf", "t2v-low-fp8.gguf"})
    CHECK(noise_level_of(name) == NoiseLevel::kLow);
  for (const char* name : {"highlands.gguf", "slow.gguf", "wan.gguf", "high_to_low.gguf"})
    CHECK(noise_level_of(name) == NoiseLevel::kUnsaid);
}

TEST_CASE("configs are used when their keys are of the component") {
  const Scratch scratch;
  const auto storage = open_storage();
  write_transformer(scratch / "a/wan.safetensors");
  const std::string path = scratch / "a/wan.safetensors";
  CHECK(find_config(*storage, path, FileKind::kTransformer).empty());
  write_text(scratch / "a/config.json", R"({"in_dim": 16, "ffn_dim": 4})");
  CHECK(find_config(*storage, path, FileKind::kTransformer) == scratch / "a/config.json");
  CHECK(find_config(*storage, path, FileKind::kVae).empty());
  write_text(scratch / "a/wan.json", R"({"z_dim": 16})");
  CHECK(find_config(*storage, path, FileKind::kVae) == scratch / "a/wan.json");
  CHECK(find_config(*storage, path, FileKind::kTransformer) == scratch / "a/config.json");
}

TEST_CASE("missing components are named") {
  for (const std::string component :
       {"transformer", "vae", "text_encoder", "tokenizer", "scheduler"}) {
    const Scratch scratch;
    write_model(scratch);
    std::filesystem::remove_all(scratch / component);
    CHECK_THAT(refusal(scratch.path()), Catch::Contains("component '" + component + "'"));
    write_text(scratch / component, "a file");
    CHECK_THAT(refusal(scratch.path()),
               Catch::Contains("component '" + component + "' is not a folder"));
  }
  const Scratch scratch;
  write_model(scratch);
  std::filesystem::remove(scratch / "tokenizer/spiece.model");
  CHECK_THAT(refusal(scratch.path()), Catch::Contains("spiece.model"));
}

TEST_CASE("the index is checked") {
  const Scratch scratch;
  const auto with = [&](const std::string& text) {
    write_model(scratch, text);
    const std::string message = refusal(scratch.path());
    CHECK_THAT(message, Catch::Contains("model_index.json"));
    return message;
  };
  const auto replaced = [](const std::string& from, const std::string& to) {
    std::string text = index_text();
    return text.replace(text.find(from), from.size(), to);
  };
  CHECK_THAT(with("{}"), Catch::Contains("'_class_name' is missing"));
  CHECK_THAT(with(replaced("WanPipeline", "FluxPipeline")), Catch::Contains("\"FluxPipeline\""));
  CHECK_THAT(with(replaced("WanTransformer3DModel", "UNet")), Catch::Contains("'transformer' is"));
  CHECK_THAT(with(replaced("\"WanTransformer3DModel\"", "null")),
             Catch::Contains("[library, class]"));
  CHECK_THAT(with(replaced("0.875", "1.5")), Catch::Contains("'boundary_ratio' is 1.5"));
  CHECK_THAT(with(replaced("0.875", "\"x\"")), Catch::Contains("'boundary_ratio'"));
  CHECK_THAT(with(replaced("false", "0")), Catch::Contains("'expand_timesteps'"));
}

TEST_CASE("a tensor table lists a checkpoint") {
  const Scratch scratch;
  write_part(scratch / "model.safetensors", "proj_out.bias");
  const ComponentTable table =
      tensor_table("transformer", Checkpoint::open(scratch.path()), ModelPart::kTransformer);
  CHECK(table.component == "transformer");
  CHECK(table.files == std::vector<std::string>{"model.safetensors"});
  REQUIRE(table.tensors.size() == 1);
  CHECK(table.tensors[0].name == "proj_out.bias");
  CHECK(table.tensors[0].canonical == "head.head.bias");
  CHECK(table.tensors[0].dtype == "F32");
  CHECK(table.bytes == 12);
  CHECK(table.num_parameters == 3);
  CHECK(table.dtypes == std::vector<std::string>{"F32"});
}
