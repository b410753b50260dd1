// t2v bench: the same video several times into nothing; medians of what it took.
#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>
#include <optional>
#include <string_view>

#include "cli/bench_report.h"
#include "cli/commands.h"
#include "cli/console.h"
#include "cli/engine_options.h"
#include "cli/parts.h"
#include "cli/signals.h"
#include "cli/streams.h"
#include "cli/video_output.h"
#include "core/check.h"
#include "t2v/mlperf.h"

namespace t2v::cli {
namespace {

using core::str;
using Json = nlohmann::ordered_json;

constexpr int64_t kMaxRuns = 10000;
constexpr const char* kPrompt =
    "a small red circle moves right on a black background while the camera stays still";

struct BenchPreset {
  std::string_view name;
  std::string_view random_model;
  int64_t width, height, frames, steps;
  uint64_t seed;
};

// Few steps: each is measured. mlperf is the task of MLPerf Inference, text to video.
constexpr std::array kPresets{
    BenchPreset{"tiny", "random:tiny", 64, 64, 9, 4, 1},
    BenchPreset{"1.3b-480p", "random:1.3b", 832, 480, 81, 4, 1},
    BenchPreset{"a14b-480p", "random:a14b", 832, 480, 81, 4, 1},
    BenchPreset{"a14b-720p", "random:a14b", 1280, 720, 81, 4, 1},
    BenchPreset{"mlperf", "random:a14b", mlperf::kWidth, mlperf::kHeight, mlperf::kFrames,
                mlperf::kSteps, mlperf::kSeed},
};

struct BenchOptions {
  EngineOptions engine;
  TalkOptions talk;
  Request request;
  std::string preset;  // "" = the model's own settings
  bool random_weights = false;
  int64_t repeats = 3;
  int64_t warmup = 1;
  bool json = false;      // instead of the table
  std::string json_path;  // "" = none
  std::optional<Json> before;
};

// Frames go nowhere: what is measured is making them.
class NullSink final : public FrameSink {
 public:
  void begin(const VideoFormat&) override {}
  void write(const uint8_t*, int64_t) override {}
  void finish() override {}
  void abort() noexcept override {}
};

const BenchPreset* read_preset(const Flags& flags) {
  const Setting* setting = flags.find("preset");
  if (!setting) return flags.has("random-weights") ? kPresets.data() : nullptr;
  const auto* const found =
      std::find_if(kPresets.begin(), kPresets.end(),
                   [&](const BenchPreset& preset) { return preset.name == setting->value; });
  if (found != kPresets.end()) return found;
  flags.refuse(*setting, "is not one of tiny, 1.3b-480p, a14b-480p, a14b-720p, mlperf");
  return nullptr;
}

// The preset fills what the command line leaves open.
Request request_of(const Flags& flags, const BenchPreset* preset) {
  std::vector<Setting> settings = flags.settings();
  std::erase_if(settings, [](const Setting& setting) { return setting.flag->name == "preset"; });
  Request request = read_request(Flags(std::move(settings), flags.problems()));
  request.prompt = kPrompt;
  if (!request.seed) request.seed = preset ? preset->seed : 1;
  if (!preset) return request;
  const bool sized = request.width || request.height;
  if (!sized) request.width = preset->width;
  if (!sized) request.height = preset->height;
  if (!request.frames) request.frames = preset->frames;
  if (!request.steps) request.steps = preset->steps;
  return request;
}

void choose_model(const Flags& flags, const BenchPreset* preset, BenchOptions& options) {
  const Setting* model = flags.find("model");
  if (!options.random_weights) {
    options.engine = read_engine_options(flags);
    if (preset && preset != kPresets.data() && !model)
      flags.problems().add(str("--preset ", preset->name,
                               ": needs a model of that shape (command line); try "
                               "--random-weights or --model PATH"));
    return;
  }
  if (model && model->origin != Origin::kEnvironment)
    flags.problems().add(
        "--random-weights: given together with --model (command line); try one of the two");
  options.engine = read_running_options(flags);
  if (preset) options.engine.model_path = preset->random_model;
}

BenchOptions read_bench_options(const Flags& flags) {
  BenchOptions options;
  options.random_weights = flags.has("random-weights");
  const BenchPreset* preset = read_preset(flags);
  if (preset) options.preset = preset->name;
  choose_model(flags, preset, options);
  options.engine.profile = true;  // costs less than a hundredth: docs/benchmarks.md
  options.talk = read_talk_options(flags);
  options.request = request_of(flags, preset);
  options.repeats = flags.integer("repeats", 1, kMaxRuns).value_or(3);
  options.warmup = flags.integer("warmup", 0, kMaxRuns).value_or(1);
  options.json = flags.has("json");
  options.json_path = flags.text("json").value_or("");
  const std::string compare = flags.path("compare");
  flags.problems().throw_if_any();
  require_file_path(options.json_path, "--json");
  if (!compare.empty()) options.before = read_bench_file(compare);
  return options;
}

BenchRuns measure(Engine& engine, const BenchOptions& options, Console& console) {
  BenchRuns runs{.preset = options.preset,
                 .random_weights = options.random_weights,
                 .warmups = {},
                 .repeats = {}};
  const Recipe recipe = engine.resolve(options.request);
  NullSink sink;
  const GenerateOutputs outputs{.sink = &sink,
                                .dump_path = "",
                                .save_latents_path = "",
                                .rescue_latents_path = "",
                                .embed_recipe = false};
  for (int64_t i = 0; i < options.warmup + options.repeats; ++i) {
    throw_if_interrupted();
    const bool warm = i < options.warmup;
    console.begin(warm ? str("warm-up ", i + 1, " of ", options.warmup)
                       : str("repeat ", i - options.warmup + 1, " of ", options.repeats));
    Report report = engine.generate(recipe, outputs, console, cancel_token());
    console.end_line();
    for (const std::string& warning : report.warnings) console.warn(warning);
    (warm ? runs.warmups : runs.repeats).push_back(std::move(report));
  }
  return runs;
}

}  // namespace

void run_bench(const Invocation& invocation) {
  require_positionals(invocation, "");
  Problems problems = invocation.problems;
  const Flags flags(invocation.settings, problems);
  const BenchOptions options = read_bench_options(flags);
  const auto engine = load_engine(options.engine);
  Console console(options.talk);
  Json result = bench_json(measure(*engine, options, console));
  Json ratios;
  if (options.before) {
    const std::string different = bench_differences(result, *options.before);
    if (!different.empty())
      console.warn(str("the earlier run is not comparable: ", different, " differ"));
    ratios = bench_ratios(result, *options.before);
    result["ratios"] = ratios;
  }
  const std::string text = result.dump(2, ' ', false, Json::error_handler_t::replace) + "\n";
  if (!options.json_path.empty()) write_file(options.json_path, text);
  const bool only_json = options.json && options.json_path.empty();
  write_stdout(only_json ? text : bench_table(result, ratios));
}

}  // namespace t2v::cli
