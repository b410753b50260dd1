// t2v generate: prompts to videos; the engine is opened once for all of them.
#include <unistd.h>

#include <filesystem>
#include <map>
#include <set>
#include <system_error>
#include <tuple>
#include <utility>

#include "cli/batch_run.h"
#include "cli/block_list.h"
#include "cli/commands.h"
#include "cli/generate_options.h"
#include "cli/jobs.h"
#include "cli/output_names.h"
#include "cli/parts.h"
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
  require_file_path(options.talk.trace_path, "--trace");
  require_file_path(options.talk.metrics_path, "--metrics-file");
  require_preview_path(expand_name(options.batch.preview, {}));
}

// Local files that this run reads, each once, with the flag that names it.
std::map<std::string, std::string> input_files(const Flags& flags, const GenerateOptions& options) {
  std::map<std::string, std::string> files;
  for (const char* name : {"config", "prompts", "block-list", "latents", "image", "last-image",
                           "transformer", "transformer-low", "text-encoder", "vae", "tokenizer"}) {
    files.emplace(flags.path(name), str("--", name));
  }
  for (const LoraOption& lora : options.engine.loras) files.emplace(lora.path, "--lora");
  std::erase_if(files, [](const auto& file) { return is_remote(file.first); });
  return files;
}

void check_collisions(const std::vector<Job>& jobs, const BatchPlace& place, const Flags& flags,
                      const GenerateOptions& options) {
  NameRegistry names;
  for (const auto& [path, flag] : input_files(flags, options)) names.add(path, flag);
  names.add(options.talk.profile_path, "--profile");
  names.add(options.talk.trace_path, "--trace");
  names.add(options.talk.metrics_path, "--metrics-file");
  names.add(place.results_path, "--results");
  for (const Job& job : jobs) {
    names.add(job.output, "--output");
    names.add(job.dump_path, "--dump");
    names.add(job.save_latents_path, "--save-latents");
  }
}

// What the encoder says to each folder and suffix, size and frame rate.
void check_formats(const std::vector<Job>& jobs, const media::SinkOptions& sink) {
  std::set<std::tuple<int64_t, int64_t, double, std::string>> checked;
  for (const Job& job : jobs) {
    const Recipe& recipe = job.recipe;
    const fs::path output(job.output);
    if (output.extension() != ".png") require_no_folder(job.output, "--output");
    const std::string kind = (output.parent_path() / output.extension()).string();
    if (!checked.insert({recipe.width, recipe.height, recipe.fps, kind}).second) continue;
    media::open_media().validate(with_path(sink, job.output), recipe.width, recipe.height,
                                 recipe.fps);
  }
}

// The recipe as lines that --config reads back, the plan as comments.
std::string dry_run_text(const Engine& engine, const std::vector<Job>& jobs, int64_t num_videos) {
  std::string text;
  for (size_t i = 0; i < jobs.size(); ++i) {
    if (i > 0) text += "\n";
    if (num_videos > 1) text += str("# video ", jobs[i].index, " of ", num_videos, "\n");
    ResolvedSettings settings = recipe_settings(jobs[i].recipe);
    settings.emplace_back("output", jobs[i].output);
    text += settings_text(settings, "");
    for (const auto& [name, value] : engine.plan(jobs[i].recipe))
      text += str("# ", name, ": ", value, "\n");
  }
  return text;
}

// Where results of several videos are written; of one only when that was asked for.
std::string results_path(const GenerateOptions& options, const OutputPatterns& patterns) {
  if (!options.batch.results_path.empty() || !patterns.several) return options.batch.results_path;
  return (fs::path(base_folder(patterns.video)) / results_name(options.batch.shard)).string();
}

bool hangs_on_seed(const std::string& pattern) {
  return pattern == "-" || pattern.find("{seed}") != std::string::npos;
}

// The part of the list that this run makes.
std::vector<Job> own_part(std::vector<Job> jobs, const std::optional<Shard>& shard) {
  if (shard) std::erase_if(jobs, [&](const Job& job) { return !shard->has(job.index - 1); });
  return jobs;
}

}  // namespace

CommandEnd run_generate(const Invocation& invocation) {
  require_positionals(invocation, "");
  Problems problems = invocation.problems;
  const Flags flags(invocation.settings, problems);
  const GenerateOptions options = read_generate_options(flags);
  const auto prompts = read_prompts(flags, *invocation.command, EmptyPrompts::kRefused);
  const auto requests = make_requests(flags, prompts);
  const int64_t num_videos = static_cast<int64_t>(requests.size()) * options.count;
  T2V_REQUIRE(num_videos <= kMaxVideos, ErrorKind::kUsage, "--count: ", num_videos,
              " videos in one run, at most ", kMaxVideos, " (command line); try --shard I/N");
  const OutputPatterns patterns = read_output_patterns(flags, prompts, options.count);
  const OutputFolder folder(folder_to_make(flags.path("output"), patterns.in_folder));
  const BatchPlace place{.num_videos = num_videos, .results_path = results_path(options, patterns)};
  check_patterns(patterns, options);
  require_file_path(place.results_path, "--results");
  const auto engine = load_engine(options.engine);
  throw_if_interrupted();
  EarlierRun earlier({.start = options.batch.start,
                      .results_path = place.results_path,
                      .only_output = patterns.in_folder || hangs_on_seed(patterns.video)
                                         ? ""
                                         : expand_name(patterns.video, {.prompt = prompts[0].text}),
                      .count = options.count,
                      .sink = options.sink});
  std::optional<BlockList> block_list;
  if (!options.block_list.empty()) block_list.emplace(BlockList::read(options.block_list));
  const JobRules rules{
      .count = options.count,
      .patterns = patterns,
      .seeds = [&](int64_t index,
                   const std::string& prompt) { return earlier.seed_for(index, prompt); },
      .refusal =
          [&](const Request& request) {
            return block_list ? block_list->refusal_of(request) : std::nullopt;
          }};
  auto jobs = make_jobs(*engine, requests, prompts, rules);
  check_collisions(jobs, place, flags, options);
  check_formats(jobs, options.sink);
  jobs = own_part(std::move(jobs), options.batch.shard);
  if (options.dry_run) {
    write_stdout(dry_run_text(*engine, jobs, num_videos));
    return CommandEnd::kDone;
  }
  earlier.remember_seeds();
  BatchRun run(*engine, options, earlier, place);
  return run.run(std::move(jobs)) == BatchEnd::kAllDone ? CommandEnd::kDone
                                                        : CommandEnd::kSomeFailed;
}

}  // namespace t2v::cli
