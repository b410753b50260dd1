// An engine without a model, so that the program can be tested alone. T2V_FAKE says what goes
// wrong: slow, oom, bad_alloc, internal, throw_int, model, numeric, device, warn. A prompt of the
// form "fail KIND ..." fails so, "flaky ..." only the first time, "never again ..." is forgotten
// when it should be made once more.
#include <chrono>
#include <cstdlib>
#include <fstream>
#include <map>
#include <memory>
#include <new>
#include <nlohmann/json.hpp>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "core/check.h"
#include "t2v/engine.h"

namespace {

using namespace t2v;
using namespace std::chrono_literals;

std::string wish() {
  const char* value = std::getenv("T2V_FAKE");
  return value ? value : "";
}

void fail_as_wished() {
  const std::string what = wish();
  if (what == "oom") throw Error(ErrorKind::kOutOfMemory, "not enough memory: fake");
  if (what == "bad_alloc") throw std::bad_alloc();
  if (what == "internal") throw std::logic_error("fake logic\x1b[31m error\nsecond line");
  if (what == "throw_int") throw 7;
  if (what == "numeric") throw Error(ErrorKind::kNumeric, "black frames: fake");
  if (what == "device") throw Error(ErrorKind::kDevice, "no device: fake");
}

// All options, so that a test sees what the flags came to.
std::string options_json(const EngineOptions& o) {
  nlohmann::ordered_json loras = nlohmann::ordered_json::array();
  for (const LoraOption& lora : o.loras) loras.push_back({lora.path, lora.expert, lora.strength});
  return nlohmann::ordered_json{{"model", o.model_path},
                                {"transformer", o.components.transformer},
                                {"transformer_low", o.components.transformer_low},
                                {"text_encoder", o.components.text_encoder},
                                {"vae", o.components.vae},
                                {"tokenizer", o.components.tokenizer},
                                {"loras", loras},
                                {"lora_lenient", o.lora_lenient},
                                {"ignore_extra", o.ignore_extra},
                                {"text_encoder_device", static_cast<int>(o.text_encoder_device)},
                                {"offload", static_cast<int>(o.offload)},
                                {"vae_tiling", static_cast<int>(o.vae_tiling)},
                                {"ram_budget", o.ram_budget_bytes},
                                {"vram_budget", o.vram_budget_bytes},
                                {"cache_dir", o.cache_dir},
                                {"cache_limit", o.cache_limit_bytes},
                                {"remote_timeout", o.remote_timeout_seconds},
                                {"io", o.io}}
      .dump();
}

[[noreturn]] void refuse() { throw Error(ErrorKind::kUsage, "the fake engine cannot do this"); }

class FakeEngine : public Engine {
 public:
  explicit FakeEngine(const EngineOptions& options) : options_(options) {
    if (wish() == "model") throw Error(ErrorKind::kModel, "broken model: fake (x.safetensors)");
    if (options.device == Device::kCuda) throw Error(ErrorKind::kDevice, "no GPU: fake (--device)");
  }

  Recipe resolve(const Request& request) const override {
    Recipe recipe;
    recipe.prompt = request.prompt;
    recipe.negative_prompt = request.negative_prompt.value_or("ugly");
    recipe.width = request.width.value_or(64);
    recipe.height = request.height.value_or(64);
    recipe.frames = request.frames.value_or(5);
    recipe.fps = request.fps.value_or(8);
    recipe.steps = request.steps.value_or(3);
    recipe.solver = request.solver.value_or(Solver::kUniPC);
    recipe.sigma_table = request.sigma_table.value_or(SigmaTable::kWan);
    recipe.shift = request.shift.value_or(3);
    const double both = request.guidance_scale.value_or(5);
    recipe.guidance_scale = {.high_noise = request.guidance_scale_high.value_or(both),
                             .low_noise = request.guidance_scale_low.value_or(both)};
    recipe.boundary = request.boundary.value_or(0.875);
    recipe.seed = request.seed.value_or(4711);
    recipe.latents_path = request.latents_path;
    recipe.preset = request.preset;
    T2V_REQUIRE(recipe.width % 16 == 0 && recipe.height % 16 == 0, ErrorKind::kUsage,
                "bad size: ", recipe.width, "x", recipe.height, " (--size); try 64x64");
    T2V_REQUIRE(recipe.frames % 4 == 1, ErrorKind::kUsage, "bad number of frames: ", recipe.frames,
                " (--frames); try 5");
    return recipe;
  }

  std::string recipe_json(const Recipe& recipe) const override {
    nlohmann::ordered_json json = {
        {"t2v", "fake"},           {"model", "fake model"},
        {"prompt", recipe.prompt}, {"size", core::str(recipe.width, "x", recipe.height)},
        {"steps", recipe.steps},   {"seed", recipe.seed},
        {"config", "/etc/passwd"}, {"loras", {1, "x"}}};
    for (const LoraOption& lora : options_.loras)
      json["loras"].push_back(
          {{"file", lora.path}, {"expert", lora.expert}, {"strength", lora.strength}});
    return json.dump();
  }

  ResolvedSettings plan(const Recipe&) const override {
    return {{"device", "fake"}, {"memory", "1 MiB"}, {"options", options_json(options_)}};
  }

  void generate_all(const std::vector<BatchItem>& items, BatchHost& host,
                    ProgressListener& progress, const CancelToken& cancel) override {
    for (size_t i = 0; i < items.size();) {
      host.on_begin(i);
      AfterFailure after = AfterFailure::kGoOn;
      try {
        host.on_done(i, make(i, items[i], host, progress, cancel));
      } catch (const Error& error) {
        after = host.on_failed(i, error);
        if (error.kind() == ErrorKind::kCancelled) throw;
      }
      if (after == AfterFailure::kStop) return;
      const bool forgotten = items[i].recipe.prompt.starts_with("never again");
      if (after == AfterFailure::kGoOn || forgotten) ++i;
    }
  }

  Report decode(const std::string& latents_path, double fps, FrameSink& sink,
                ProgressListener& progress, const CancelToken&) override {
    T2V_REQUIRE(std::ifstream(latents_path).good(), ErrorKind::kInput, "cannot read latents: fake");
    Recipe recipe = resolve({});
    recipe.fps = fps > 0 ? fps : 16;
    progress.on_progress({.stage = Stage::kVaeDecode, .done = 0, .total = 5, .expert = ""});
    write_to(sink, recipe, "");
    return report_of(recipe);
  }

  void write_trace(const std::string&) override { refuse(); }
  Report calibrate_step_cache(const Recipe& recipe, const std::string& path, ProgressListener&,
                              const CancelToken&) override {
    std::ofstream(path) << "{}";
    Report report;
    report.recipe = recipe;
    return report;
  }
  Report encode(FrameSource& source, const std::string& latents_path, ProgressListener&,
                const CancelToken&) override {
    Recipe recipe;
    recipe.width = source.format().width;
    recipe.height = source.format().height;
    std::vector<uint8_t> rgb;
    while (source.read(rgb)) ++recipe.frames;
    std::ofstream(latents_path) << "FAKE LATENTS of " << recipe.frames;
    return report_of(recipe);
  }
  TokenizedPrompt tokenize(const std::string& prompt) const override {
    return {.text = prompt,
            .clean = prompt,
            .ids = {static_cast<int64_t>(prompt.size()), 1},
            .truncated = false};
  }
  std::vector<std::pair<std::string, ResolvedSettings>> presets() const override {
    return {{"official", {{"steps", "3"}, {"negative-prompt", "a b"}}},
            {"diffusers", {{"steps", "4"}}}};
  }

 private:
  void fail_by_prompt(const std::string& prompt) {
    if (prompt.starts_with("fail device")) throw Error(ErrorKind::kDevice, "no device: by prompt");
    if (prompt.starts_with("fail input")) throw Error(ErrorKind::kInput, "bad input: by prompt");
    if (prompt.starts_with("fail timeout")) throw Error(ErrorKind::kTimeout, "too slow: by prompt");
    const bool flaky = prompt.starts_with("flaky") && tries_[prompt]++ == 0;
    if (flaky || prompt.starts_with("never again"))
      throw Error(ErrorKind::kRemote, "remote is away: by prompt");
  }

  static void show_preview(const BatchItem& job, int64_t step) {
    if (!job.outputs.preview) return;
    const std::vector<uint8_t> rgb(size_t{4} * 2 * 3, static_cast<uint8_t>(step));
    job.outputs.preview->on_preview(
        {.step = step, .num_steps = job.recipe.steps, .width = 4, .height = 2, .rgb = rgb.data()});
  }

  Report make(size_t item, const BatchItem& job, BatchHost& host, ProgressListener& progress,
              const CancelToken& cancel) {
    const Recipe& recipe = job.recipe;
    GenerateOutputs outputs = job.outputs;
    fail_as_wished();
    fail_by_prompt(recipe.prompt);
    for (const int64_t bytes : {0, 1000000000, 2000000000}) {
      progress.on_progress({.stage = Stage::kLoadTransformer,
                            .done = bytes / 2000000000,
                            .total = 1,
                            .expert = "high_noise",
                            .bytes_done = bytes,
                            .bytes_total = 2000000000});
    }
    for (int64_t step = 0; step <= recipe.steps; ++step) {
      progress.on_progress(
          {.stage = Stage::kDenoise, .done = step, .total = recipe.steps, .expert = "high_noise"});
      if (step > 0) show_preview(job, step);
      if (wish() == "slow") std::this_thread::sleep_for(100ms);
      T2V_REQUIRE(!cancel.cancelled(), ErrorKind::kCancelled, "interrupted: fake");
    }
    if (!outputs.dump_path.empty()) std::ofstream(outputs.dump_path) << "dump";
    if (!outputs.save_latents_path.empty()) std::ofstream(outputs.save_latents_path) << "latents";
    outputs.sink = host.open_sink(item);
    if (outputs.sink) write_frames(recipe, outputs);
    return report_of(recipe);
  }

  static void write_to(FrameSink& sink, const Recipe& recipe, const std::string& json) {
    const std::vector<uint8_t> frame(static_cast<size_t>(recipe.width * recipe.height * 3));
    sink.begin({.width = recipe.width,
                .height = recipe.height,
                .num_frames = recipe.frames,
                .fps = recipe.fps,
                .recipe_json = json});
    for (int64_t i = 0; i < recipe.frames; ++i) sink.write(frame.data(), 1);
    sink.finish();
  }

  void write_frames(const Recipe& recipe, const GenerateOutputs& outputs) const {
    try {
      write_to(*outputs.sink, recipe, outputs.embed_recipe ? recipe_json(recipe) : "");
    } catch (const Error&) {
      outputs.sink->abort();
      std::ofstream(outputs.rescue_latents_path) << "latents";
      throw;
    }
  }

  Report report_of(const Recipe& recipe) const {
    Report report;
    report.recipe = recipe;
    report.device = core::str("fake, ", options_.num_threads, " threads");
    report.model = "fake model";
    report.stages = {{.stage = Stage::kDenoise, .start_ms = 1, .wall_ms = 2, .bytes_read = 3}};
    report.steps = {{.index = 0, .expert = "high_noise", .timestep = 999, .wall_ms = 2}};
    report.weights = {.bytes = 2000000000,
                      .gb_per_s = 1.5,
                      .stall_ms = 2,
                      .expert_switch_ms = 3,
                      .streamed_blocks = 40};
    report.first_step_ms = 2;
    report.total_ms = 3;
    report.host_peak_bytes = 1 << 20;
    if (wish() == "warn") report.warnings = {"something\x07 odd"};
    return report;
  }

  EngineOptions options_;
  std::map<std::string, int> tries_;  // of flaky prompts
};

}  // namespace

extern "C" __attribute__((visibility("default"))) t2v::Engine* t2v_create_engine(
    const t2v::EngineOptions& options) {
  return std::make_unique<FakeEngine>(options).release();
}

extern "C" __attribute__((visibility("default"))) void t2v_inspect_model(
    const t2v::EngineOptions& options, t2v::ReportFormat format, std::string& report) {
  report = format == t2v::ReportFormat::kJson
               ? R"({"layout":"fake"})"
               : t2v::core::str("fake model, backend ",
                                options.backend == t2v::Backend::kFused ? "fused" : "reference");
}

extern "C" __attribute__((visibility("default"))) void t2v_preview_latents(
    const std::string& path, double fps, t2v::FrameSink& sink, t2v::ProgressListener&,
    const t2v::CancelToken&, t2v::Report& report) {
  T2V_REQUIRE(std::ifstream(path).good(), ErrorKind::kInput, "cannot read latents: fake");
  const std::vector<uint8_t> frame(size_t{16} * 16 * 3);
  sink.begin(
      {.width = 16, .height = 16, .num_frames = 1, .fps = fps > 0 ? fps : 4, .recipe_json = ""});
  sink.write(frame.data(), 1);
  sink.finish();
  report.model = "preview";
}
