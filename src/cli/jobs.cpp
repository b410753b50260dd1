#include "cli/jobs.h"

#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <iterator>
#include <limits>
#include <utility>

#include "cli/output_names.h"
#include "cli/pictures.h"
#include "core/check.h"

namespace t2v::cli {
namespace {

using core::str;

void require_latents_file(const std::string& path) {
  if (path.empty()) return;
  struct stat status {};
  T2V_REQUIRE(::stat(path.c_str(), &status) == 0, ErrorKind::kInput,
              "cannot read latents: ", std::strerror(errno), " (", quoted(path), ", --latents)");
  T2V_REQUIRE(!S_ISDIR(status.st_mode), ErrorKind::kInput, "cannot read latents: it is a folder (",
              quoted(path), ", --latents)");
}

bool has_placeholder(const std::string& name) {
  for (const char* placeholder : {"{index}", "{seed}", "{slug}"}) {
    if (name.find(placeholder) != std::string::npos) return true;
  }
  return false;
}

void require_names_that_differ(const std::string& pattern, const std::string& flag) {
  T2V_REQUIRE(pattern.empty() || has_placeholder(pattern), ErrorKind::kUsage, flag,
              ": several videos cannot share ", quoted(pattern), " (command line); try a ",
              flag == "--output" ? "folder or a " : "",
              "name with {index}, {seed} or {slug} in it");
}

// What is wrong with a line of a prompt file is told with its place.
Recipe resolved(const Engine& engine, const Request& request, const std::string& where) {
  try {
    return engine.resolve(request);
  } catch (const Error& error) {
    if (!where.starts_with("prompt file")) throw;
    throw Error(error.kind(), str(error.what(), " (", where, ")"));
  }
}

}  // namespace

std::vector<Request> make_requests(const Flags& flags, const std::vector<Prompt>& prompts) {
  std::vector<Request> requests;
  Problems problems;
  for (const Prompt& prompt : prompts) {
    std::vector<Setting> settings = flags.settings();
    settings.insert(settings.end(), prompt.settings.begin(), prompt.settings.end());
    Request request = read_request(Flags(std::move(settings), problems));
    request.prompt = prompt.text;
    requests.push_back(std::move(request));
  }
  problems.throw_if_any(ErrorKind::kInput);
  Pictures pictures;
  for (Request& request : requests) {
    if (request.negative_prompt) require_prompt_text(*request.negative_prompt, "--negative-prompt");
    require_latents_file(request.latents_path);
    pictures.load(request);
  }
  return requests;
}

OutputPatterns read_output_patterns(const Flags& flags, const std::vector<Prompt>& prompts,
                                    int64_t count) {
  const int64_t num_videos = static_cast<int64_t>(prompts.size()) * count;
  OutputPatterns patterns{.video = flags.path("output"),
                          .dump = flags.path("dump"),
                          .save_latents = flags.path("save-latents"),
                          .several = num_videos > 1};
  flags.problems().throw_if_any();
  const auto named = std::count_if(prompts.begin(), prompts.end(),
                                   [](const Prompt& prompt) { return !prompt.output.empty(); });
  const bool all_named = count == 1 && named == std::ssize(prompts);
  patterns.in_folder = patterns.several || named > 0;
  patterns.video = output_pattern(patterns.video, patterns.in_folder);
  for (const Prompt& prompt : prompts) {
    T2V_REQUIRE(prompt.output.empty() || patterns.video != "-", ErrorKind::kInput,
                "bad field 'output': --output - is standard output (", prompt.where,
                "); try a folder");
  }
  if (!patterns.several) return patterns;
  T2V_REQUIRE(patterns.video != "-", ErrorKind::kUsage,
              "--output: standard output takes one video, not ", num_videos,
              " (command line); try a folder");
  if (!all_named) require_names_that_differ(patterns.video, "--output");
  require_names_that_differ(patterns.dump, "--dump");
  require_names_that_differ(patterns.save_latents, "--save-latents");
  return patterns;
}

std::vector<Job> make_jobs(const Engine& engine, std::vector<Request> requests,
                           const std::vector<Prompt>& prompts, const JobRules& rules) {
  const OutputPatterns& patterns = rules.patterns;
  const int64_t count = rules.count;
  std::vector<Job> jobs;
  for (size_t r = 0; r < requests.size(); ++r) {
    Request& request = requests[r];
    const bool seed_given = request.seed.has_value();
    if (!seed_given)
      request.seed = rules.seeds(static_cast<int64_t>(jobs.size()) + 1, request.prompt);
    const Recipe first = resolved(engine, request, prompts[r].where);
    const uint64_t room = std::numeric_limits<uint64_t>::max() - first.seed;
    T2V_REQUIRE(static_cast<uint64_t>(count - 1) <= room, ErrorKind::kUsage, "--count: ", count,
                " seeds from ", first.seed,
                " on go beyond 2^64-1 (command line); try a smaller --seed");
    const std::string pattern =
        prompts[r].output.empty()
            ? patterns.video
            : name_in_folder(base_folder(patterns.video), prompts[r].output, prompts[r].where);
    const std::string refusal = rules.refusal(request).value_or("");
    for (int64_t i = 0; i < count; ++i) {
      Job job;
      job.index = static_cast<int64_t>(jobs.size()) + 1;
      job.recipe = first;
      job.recipe.seed += static_cast<uint64_t>(i);
      job.where = prompts[r].where;
      job.seed_given = seed_given;
      job.refusal = refusal;
      const NamedVideo video{.index = job.index, .seed = job.recipe.seed, .prompt = request.prompt};
      job.output = expand_name(pattern, video);
      job.dump_path = expand_name(patterns.dump, video);
      job.save_latents_path = expand_name(patterns.save_latents, video);
      jobs.push_back(std::move(job));
    }
  }
  return jobs;
}

}  // namespace t2v::cli
