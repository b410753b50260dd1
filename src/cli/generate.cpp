// t2v generate: prompts to videos; the engine is opened once for all of them.
#include <unistd.h>

#include <chrono>
#include <filesystem>
#include <map>
#include <set>
#include <system_error>
#include <tuple>
#include <utility>

#include "cli/commands.h"
#include "cli/console.h"
#include "cli/engine_options.h"
#include "cli/jobs.h"
#include "cli/output_names.h"
#include "cli/parts.h"
#include "cli/recipe_command.h"
#include "cli/report.h"
#include "cli/signals.h"
#include "cli/streams.h"
#include "cli/video_output.h"
#include "core/check.h"

namespace t2v::cli {
namespace {

namespace fs = std::filesystem;
using core::str;

constexpr int64_t kMaxVideos = 1000000;
constexpr std::chrono::seconds kFileTimeSlack{2};  // the coarsest file systems count in twos

// Everything of the command line that is not in a request.
struct GenerateOptions {
  EngineOptions engine;
  TalkOptions talk;
  media::SinkOptions sink;
  int64_t count = 1;  // videos a prompt
  bool dry_run = false;
};

GenerateOptions read_generate_options(const Flags& flags) {
  GenerateOptions options;
  options.engine = read_engine_options(flags);
  options.talk = read_talk_options(flags);
  options.sink = read_sink_options(flags);
  options.count = flags.integer("count", 1, kMaxVideos).value_or(1);
  options.dry_run = flags.has("dry-run");
  if (options.count > 1 && flags.has("latents")) {
    flags.problems().add(
        "--count: --latents fixes the noise, so all videos would be the same (command line); "
        "try one of the two");
  }
  // Read for their problems only: so all are told before prompts are read.
  static_cast<void>(read_request(flags));
  for (const char* name : {"output", "dump", "save-latents"}) static_cast<void>(flags.path(name));
  flags.problems().throw_if_any();
  return options;
}

// The folder that several videos go to; removed again if it stays empty.
class OutputFolder {
 public:
  // path: "" when there is none to make. Throws Error{kOutput}.
  explicit OutputFolder(std::string path) : path_(std::move(path)) {
    if (path_.empty()) return;
    require_file_path(path_, "--output");
    std::error_code error;
    made_ = fs::create_directory(path_, error);
    T2V_REQUIRE(!error, ErrorKind::kOutput,
                "cannot make the folder for the videos: ", error.message(), " (", quoted(path_),
                ", --output)");
  }
  OutputFolder(const OutputFolder&) = delete;
  OutputFolder& operator=(const OutputFolder&) = delete;
  ~OutputFolder() {
    if (made_) ::rmdir(path_.c_str());  // fails, as it should, when there is something in it
  }

 private:
  std::string path_;
  bool made_ = false;
};

// Folder to make for this --output; "" when there is none to make.
std::string folder_to_make(const std::string& output, bool several) {
  std::error_code ignored;
  if (!is_output_folder(output, several) || fs::exists(output, ignored)) return "";
  std::string folder = output;
  while (folder.size() > 1 && folder.back() == '/') folder.pop_back();
  return folder;
}

// What does not depend on seeds, before the model is opened.
void check_patterns(const OutputPatterns& patterns, const GenerateOptions& options) {
  require_video_target(with_path(options.sink, expand_name(patterns.video, {})));
  require_file_path(expand_name(patterns.dump, {}), "--dump");
  require_file_path(expand_name(patterns.save_latents, {}), "--save-latents");
  require_file_path(options.talk.profile_path, "--profile");
}

// Local files that this run reads, each once, with the flag that names it.
std::map<std::string, std::string> input_files(const Flags& flags, const GenerateOptions& options) {
  std::map<std::string, std::string> files;
  for (const char* name : {"config", "prompts", "latents", "transformer", "transformer-low",
                           "text-encoder", "vae", "tokenizer"}) {
    files.emplace(flags.path(name), str("--", name));
  }
  for (const LoraOption& lora : options.engine.loras) files.emplace(lora.path, "--lora");
  std::erase_if(files, [](const auto& file) { return is_remote(file.first); });
  return files;
}

void check_collisions(const std::vector<Job>& jobs, const Flags& flags,
                      const GenerateOptions& options) {
  NameRegistry names;
  for (const auto& [path, flag] : input_files(flags, options)) names.add(path, flag);
  names.add(options.talk.profile_path, "--profile");
  for (const Job& job : jobs) {
    names.add(job.output, "--output");
    names.add(job.dump_path, "--dump");
    names.add(job.save_latents_path, "--save-latents");
  }
}

// What the encoder says to each size and frame rate.
void check_formats(const std::vector<Job>& jobs, const media::SinkOptions& sink) {
  std::set<std::tuple<int64_t, int64_t, double>> checked;
  for (const Job& job : jobs) {
    const Recipe& recipe = job.recipe;
    if (!checked.insert({recipe.width, recipe.height, recipe.fps}).second) continue;
    media::open_media().validate(with_path(sink, job.output), recipe.width, recipe.height,
                                 recipe.fps);
  }
}

// The recipe as lines that --config reads back, the plan as comments.
std::string dry_run_text(const Engine& engine, const std::vector<Job>& jobs) {
  std::string text;
  for (size_t i = 0; i < jobs.size(); ++i) {
    if (i > 0) text += "\n";
    if (jobs.size() > 1) text += str("# video ", i + 1, " of ", jobs.size(), "\n");
    ResolvedSettings settings = recipe_settings(jobs[i].recipe);
    settings.emplace_back("output", jobs[i].output);
    text += settings_text(settings, "");
    for (const auto& [name, value] : engine.plan(jobs[i].recipe))
      text += str("# ", name, ": ", value, "\n");
  }
  return text;
}

std::string decode_command(const GenerateOptions& options, const Job& job,
                           const std::string& latents) {
  std::string command = "t2v decode " + shell_quoted(latents);
  if (options.engine.model_path != shipped_model())
    command += " -m " + shell_quoted(options.engine.model_path);
  if (!options.engine.components.vae.empty())
    command += " --vae " + shell_quoted(options.engine.components.vae);
  return command + " -o " + shell_quoted(job.output == "-" ? "out.mp4" : job.output);
}

// Runs jobs one after the other and tells about each.
class Maker {
 public:
  Maker(Engine& engine, const GenerateOptions& options, Aftermath& aftermath)
      : engine_(engine), options_(options), aftermath_(aftermath), console_(options.talk) {}

  void make(const Job& job, const std::string& title) {
    throw_if_interrupted();
    console_.begin(title);
    const auto sink = media::open_media().create_sink(with_path(options_.sink, job.output));
    const GenerateOutputs outputs{.sink = sink.get(),
                                  .dump_path = job.dump_path,
                                  .save_latents_path = job.save_latents_path,
                                  .rescue_latents_path = rescue_name(job.output, job.recipe.seed),
                                  .embed_recipe = options_.sink.metadata};
    aftermath_ = {.rescued_latents = outputs.rescue_latents_path,
                  .not_before = fs::file_time_type::clock::now() - kFileTimeSlack,
                  .decode_command = decode_command(options_, job, outputs.rescue_latents_path)};
    const Report report = engine_.generate(job.recipe, outputs, console_, cancel_token());
    aftermath_ = {};
    tell(report, job);
  }

  // After the last job: the profile of all.
  void finish() {
    if (options_.talk.profile_path.empty()) return;
    write_file(options_.talk.profile_path, join_profiles(profiles_));
  }

 private:
  void tell(const Report& report, const Job& job) {
    console_.end_line();
    for (const std::string& warning : report.warnings) console_.warn(warning);
    console_.tell(summary_text(report, job.output));
    console_.tell_json(done_json(report, job.output));
    if (options_.talk.profile && options_.talk.profile_path.empty())
      write_stderr(profile_table(report));
    if (!options_.talk.profile_path.empty()) {
      profiles_.push_back(profile_json(report, engine_.recipe_json(report.recipe)));
    }
    if (job.output != "-") write_stdout(job.output + "\n");
  }

  Engine& engine_;
  const GenerateOptions& options_;
  Aftermath& aftermath_;
  Console console_;
  std::vector<std::string> profiles_;
};

}  // namespace

void run_generate(const Invocation& invocation, Aftermath& aftermath) {
  require_positionals(invocation, "");
  Problems problems = invocation.problems;
  const Flags flags(invocation.settings, problems);
  const GenerateOptions options = read_generate_options(flags);
  const auto prompts = read_prompts(flags, *invocation.command, EmptyPrompts::kRefused);
  const auto requests = make_requests(flags, prompts);
  const int64_t num_videos = static_cast<int64_t>(requests.size()) * options.count;
  T2V_REQUIRE(num_videos <= kMaxVideos, ErrorKind::kUsage, "--count: ", num_videos,
              " videos in one run, at most ", kMaxVideos, " (command line)");
  const OutputPatterns patterns = read_output_patterns(flags, num_videos);
  const OutputFolder folder(folder_to_make(flags.path("output"), patterns.several));
  check_patterns(patterns, options);
  const auto engine = load_engine(options.engine);
  throw_if_interrupted();
  const auto jobs = make_jobs(*engine, requests, options.count, patterns);
  check_collisions(jobs, flags, options);
  check_formats(jobs, options.sink);
  if (options.dry_run) return write_stdout(dry_run_text(*engine, jobs));

  Maker maker(*engine, options, aftermath);
  for (size_t i = 0; i < jobs.size(); ++i) {
    maker.make(jobs[i], jobs.size() == 1 ? "" : str("video ", i + 1, " of ", jobs.size()));
  }
  maker.finish();
}

}  // namespace t2v::cli
