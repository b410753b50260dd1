#include "pipeline/presets.h"

#include <algorithm>
#include <catch2/catch.hpp>
#include <filesystem>

#include "pipeline/recipe.h"
#include "t2v/error.h"
#include "weights/checkpoint.h"
#include "weights/safetensors_writer.h"

using namespace t2v;
using Catch::Matchers::Contains;

namespace {

pipeline::Model open(const std::string& path) {
  EngineOptions options;
  options.model_path = path;
  return pipeline::open_model(options, pipeline::open_storage(options));
}
const pipeline::Model& shapes() {
  static const pipeline::Model model = open(T2V_MODELS "/shapes");
  return model;
}
const pipeline::Model& a14b() {
  static const pipeline::Model model = open("random:a14b");
  return model;
}
const pipeline::Model& small() {
  static const pipeline::Model model = open("random:1.3b");
  return model;
}

Recipe resolve(const pipeline::Model& model, const std::string& preset,
               const std::function<void(Request&)>& change = {}) {
  Request request;
  request.prompt = "x";
  request.seed = 1;
  request.preset = preset;
  if (change) change(request);
  return pipeline::resolve_recipe(request, model);
}

std::string refusal(const pipeline::Model& model, const std::string& preset,
                    const std::function<void(Request&)>& change) {
  try {
    resolve(model, preset, change);
  } catch (const Error& error) {
    CHECK(error.kind() == ErrorKind::kUsage);
    return error.what();
  }
  return "";
}

std::string warnings(const Recipe& recipe, const pipeline::Model& model,
                     const std::vector<LoraOption>& loras = {}) {
  EngineOptions options;
  options.loras = loras;
  std::string text;
  for (const auto& line : pipeline::recipe_warnings(recipe, model, options)) text += line + "\n";
  return text;
}

std::string value_of(const ResolvedSettings& settings, const std::string& flag) {
  for (const auto& [name, value] : settings)
    if (name == flag) return value;
  return "";
}

}  // namespace

TEST_CASE("every preset resolves for every model; tiers never ask for more than the model's own") {
  for (const auto* model : {&shapes(), &a14b(), &small()}) {
    const Recipe own = resolve(*model, "official");
    for (const std::string& name : preset_names()) {
      CAPTURE(name, model->variant.name);
      const Recipe r = resolve(*model, name);
      const auto values = pipeline::preset_values(name, *model);
      CHECK(value_of(values, "steps") == std::to_string(r.steps));
      CHECK(value_of(values, "size") == std::to_string(r.width) + "x" + std::to_string(r.height));
      CHECK(value_of(values, "t-list") == pipeline::list_text(r.t_list));
      CHECK(pipeline::is_distilled(name) == !r.t_list.empty());
      if (name == "diffusers" || name == "mlperf") continue;
      CHECK(r.width * r.height * r.frames * r.steps <=
            own.width * own.height * own.frames * own.steps);
    }
  }
}

TEST_CASE("presets have the values they are known by") {
  const Recipe mlperf = pipeline::resolve_recipe({.prompt = "x", .preset = "mlperf"}, a14b());
  CHECK(mlperf.seed == 42);
  CHECK((mlperf.width == 1280 && mlperf.height == 720 && mlperf.frames == 81));
  CHECK((mlperf.steps == 20 && mlperf.fps == 16 && mlperf.boundary == 0.875));
  CHECK((mlperf.guidance_scale.high_noise == 4 && mlperf.guidance_scale.low_noise == 3));
  CHECK(mlperf.shift == 12);
  CHECK_THAT(mlperf.negative_prompt, Contains("poorly drawn hands, poorly drawn face"));

  const Recipe lightning = resolve(a14b(), "lightning-8");
  CHECK(lightning.solver == Solver::kEuler);
  CHECK(lightning.guidance_scale.high_noise == 1);
  CHECK(lightning.boundary == 0.875);
  CHECK(lightning.t_list.at(2) == 937.5);
  CHECK(resolve(a14b(), "rcm").solver == Solver::kRenoise);
  CHECK(resolve(a14b(), "rcm", [](Request& r) { r.steps = 2; }).t_list.size() == 2);
  CHECK(resolve(small(), "fastwan").t_list == std::vector<double>{1000, 757, 522});
  CHECK(resolve(small(), "causvid-lora").t_list.back() == 74);

  const Recipe preview = resolve(a14b(), "preview");
  CHECK((preview.width == 448 && preview.height == 256 && preview.frames == 33));
  CHECK(preview.steps == 20);
  CHECK((resolve(a14b(), "standard").width == 832 && resolve(a14b(), "standard").height == 480));
  CHECK(resolve(a14b(), "high").height == 720);
  CHECK(resolve(small(), "high").height == 480);
  CHECK((resolve(shapes(), "draft").width == 64 && resolve(shapes(), "draft").steps == 5));
}

TEST_CASE("an explicit list wins over everything, its 0 is the end point") {
  const Recipe r = resolve(a14b(), "lightning-4", [](Request& q) {
    q.t_list = {1000, 900, 400, 0};
    q.guidance_scale_high = 3.5;
  });
  CHECK(r.t_list == std::vector<double>{1000, 900, 400});
  CHECK(r.steps == 3);
  CHECK(r.guidance_scale.high_noise == 3.5);
  CHECK(r.guidance_scale.low_noise == 1);
  CHECK(resolve(a14b(), "official", [](Request& q) {
          q.t_list = {900, 100};
        }).solver == Solver::kEuler);
  CHECK(resolve(a14b(), "official", [](Request& q) {
          q.t_list = {900, 100};
          q.solver = Solver::kUniPC;
        }).solver == Solver::kUniPC);
  CHECK_THAT(refusal(a14b(), "official",
                     [](Request& q) {
                       q.t_list = {100, 900};
                     }),
             Contains("--t-list"));
  CHECK_THAT(refusal(a14b(), "lightning-4", [](Request& q) { q.steps = 6; }),
             Contains("has 4 timesteps"));
  CHECK_THAT(refusal(a14b(), "lightning-4", [](Request& q) { q.shift = 6; }), Contains("--shift"));
  CHECK_THAT(refusal(a14b(), "rcm", [](Request& q) { q.steps = 5; }), Contains("1 to 4"));
}

TEST_CASE("the recipe of a list reads back as the same numbers") {
  const Recipe r = resolve(shapes(), "lightning-8");
  const std::string json = pipeline::recipe_to_json(r, shapes(), {}, "bf16");
  CHECK_THAT(json, Contains("\"t_list\":\"" + pipeline::list_text(r.t_list) + "\""));
  CHECK_THAT(json, !Contains("\"shift\""));
  std::vector<double> again;
  std::string text = pipeline::list_text(r.t_list);
  for (size_t begin = 0; begin < text.size();) {
    const size_t end = std::min(text.find(',', begin), text.size());
    again.push_back(std::stod(text.substr(begin, end - begin)));
    begin = end + 1;
  }
  CHECK(again == r.t_list);
}

TEST_CASE("a run says what may not be as asked") {
  CHECK(warnings(resolve(shapes(), "official"), shapes()).empty());
  CHECK(warnings(resolve(a14b(), "official"), a14b()).empty());
  const std::string draft = warnings(resolve(shapes(), "draft"), shapes());
  CHECK_THAT(draft, Contains("t2v.json says otherwise: steps 5 (20)"));
  CHECK(std::count(draft.begin(), draft.end(), '\n') == 1);
  CHECK(warnings(resolve(shapes(), "draft", [](Request& r) { r.steps = 9; }), shapes()).empty());

  const Recipe lightning = resolve(a14b(), "lightning-4");
  CHECK_THAT(warnings(lightning, a14b()), Contains("without a LoRA"));
  const LoraOption high{.path = "a.safetensors", .expert = "high"};
  const LoraOption low{.path = "b.safetensors", .expert = "low"};
  CHECK_THAT(warnings(lightning, a14b(), {high}), Contains("low-noise expert has no LoRA"));
  CHECK_THAT(warnings(lightning, a14b(), {low}), Contains("high-noise expert has no LoRA"));
  CHECK(warnings(lightning, a14b(), {high, low}).empty());
  CHECK(warnings(lightning, a14b(), {{.path = "both.safetensors"}}).empty());
  CHECK(warnings(resolve(small(), "causvid-lora"), small(), {{.path = "x.safetensors"}}).empty());
  const Recipe mixed =
      resolve(a14b(), "lightning-4", [](Request& r) { r.guidance_scale_high = 4; });
  const std::string text = warnings(mixed, a14b(), {low});
  CHECK_THAT(text, Contains("want guidance 1; it is 4 and 1"));
  CHECK_THAT(text, !Contains("no LoRA"));  // that expert runs as it was trained
}

TEST_CASE("a published model's folder with other values is told in one line") {
  pipeline::Model model = open("random:a14b");
  model.flow_shift = 3;
  CHECK_THAT(warnings(resolve(model, "official"), model), Contains("scheduler file says shift 3"));
  CHECK(warnings(resolve(model, "official", [](Request& r) { r.shift = 3; }), model).empty());
  model.own_settings.steps = 30;
  model.own_settings.shift = 3;
  const std::string text = warnings(resolve(model, "official"), model);
  CHECK_THAT(text, Contains("Wan2.2-T2V-A14B was published with: steps 30 (40), shift 3 (12)"));
  CHECK(std::count(text.begin(), text.end(), '\n') == 1);
}

TEST_CASE("weights of another attention are refused with what to do") {
  const std::filesystem::path folder =
      std::filesystem::path(T2V_BINARY_DIR) / "tests/other_attention";
  std::filesystem::create_directories(folder);
  std::filesystem::copy_file(T2V_MODELS "/shapes/transformer/config.json", folder / "config.json",
                             std::filesystem::copy_options::overwrite_existing);
  const std::string path = folder / "diffusion_pytorch_model.safetensors";
  const auto own = weights::Checkpoint::open(T2V_MODELS "/shapes/transformer");
  const auto opened = [&](const std::string& extra, bool ignore_extra) -> std::string {
    std::vector<weights::NamedTensor> tensors;
    for (const auto& entry : own.tensors()) tensors.push_back({entry.name, own.load(entry.name)});
    tensors.push_back({extra, tensors[0].tensor});
    weights::write_safetensors(path, tensors);
    EngineOptions options;
    options.model_path = T2V_MODELS "/shapes";
    options.components.transformer = path;
    options.ignore_extra = ignore_extra;
    try {
      pipeline::open_model(options, pipeline::open_storage(options));
    } catch (const Error& error) {
      CHECK(error.kind() == ErrorKind::kModel);
      return error.what();
    }
    return "";
  };
  for (const bool ignore : {false, true})
    CHECK_THAT(opened("blocks.0.self_attn.local_attn.proj_l.weight", ignore),
               Contains("linear attention"));
  CHECK_THAT(opened("blocks.0.to_gate_compress.weight", false), Contains("--ignore-extra"));
  CHECK(opened("blocks.0.to_gate_compress.weight", true).empty());
}
