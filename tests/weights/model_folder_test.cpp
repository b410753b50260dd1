#include "weights/model_folder.h"

#include <ATen/core/Tensor.h>
#include <ATen/ops/ones.h>

#include <catch2/catch.hpp>

#include "scratch.h"
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

std::string refusal(const std::string& path) {
  return message_of([&] { open_model_folder(path); });
}

}  // namespace

TEST_CASE("a whole folder: paths and facts") {
  const Scratch scratch;
  write_model(scratch);
  const ModelFolder folder = open_model_folder(scratch.path());
  CHECK(folder.class_name == "WanPipeline");
  CHECK(folder.transformer == scratch / "transformer");
  CHECK(folder.transformer_2.empty());
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
  const ModelFolder folder = open_model_folder(scratch.path());
  CHECK(folder.transformer_2 == scratch / "transformer_2");
  CHECK(folder.t2v_json == scratch / "t2v.json");
  write_model(scratch, index_text(R"(,"transformer_2":[null,null])"));
  CHECK(open_model_folder(scratch.path()).transformer_2.empty());
}

TEST_CASE("what stands in its place is named") {
  const Scratch scratch;
  CHECK_THAT(refusal(scratch / "absent"), Catch::Contains("no such model"));
  CHECK_THAT(refusal(""), Catch::Contains("no such model"));
  CHECK_THAT(refusal(scratch.path()), Catch::Contains("the folder is empty"));
  write_text(scratch / "a.gguf", "GGUF\3aaaaaaaaaaaaaaaa");
  CHECK_THAT(refusal(scratch / "a.gguf"), Catch::Contains("this is a GGUF file"));
  CHECK_THAT(refusal(scratch.path()), Catch::Contains("looks like a folder of GGUF files"));
  write_text(scratch / "native/Wan2.1_VAE.pth", "PK\3\4");
  CHECK_THAT(refusal(scratch / "native"), Catch::Contains("the original Wan layout"));
  CHECK_THAT(refusal(scratch / "native/Wan2.1_VAE.pth"),
             Catch::Contains("this is a torch archive"));
  write_text(scratch / "comfy/diffusion_models/x.safetensors", "x");
  CHECK_THAT(refusal(scratch / "comfy"), Catch::Contains("ComfyUI"));
  std::filesystem::create_directory(scratch / "single");
  write_safetensors(scratch / "single/wan.safetensors", {{"a", at::ones({1})}});
  CHECK_THAT(refusal(scratch / "single"), Catch::Contains("single files"));
  CHECK_THAT(refusal(scratch / "single/wan.safetensors"),
             Catch::Contains("single safetensors file"));
  write_text(scratch / "other/readme", "x");
  CHECK_THAT(refusal(scratch / "other"), Catch::Contains("model_index.json is missing"));
  write_text(scratch / "other/text", "short");
  CHECK_THAT(refusal(scratch / "other/text"), Catch::Contains("it is a file"));
  write_model(scratch);
  CHECK_THAT(refusal(scratch / "transformer"), Catch::Contains("one component of a model"));
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

TEST_CASE("tensor tables list every component") {
  const Scratch scratch;
  write_model(scratch);
  const std::vector<ComponentTable> tables = tensor_tables(open_model_folder(scratch.path()));
  REQUIRE(tables.size() == 3);
  CHECK(tables[1].component == "transformer");
  CHECK(tables[1].files == std::vector<std::string>{"model.safetensors"});
  REQUIRE(tables[1].tensors.size() == 1);
  CHECK(tables[1].tensors[0].name == "proj_out.bias");
  CHECK(tables[1].tensors[0].canonical == "head.head.bias");
  CHECK(tables[1].tensors[0].dtype == "F32");
  CHECK(tables[1].bytes == 12);
  CHECK(tables[1].num_parameters == 3);
  CHECK(tables[1].dtypes == std::vector<std::string>{"F32"});
}
