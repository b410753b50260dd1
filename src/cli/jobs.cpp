#include "cli/jobs.h"

#include <sys/stat.h>

#include <cerrno>
#include <cstring>
#include <limits>
#include <utility>

#include "cli/output_names.h"
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
  for (const Request& request : requests) {
    if (request.negative_prompt) require_prompt_text(*request.negative_prompt, "--negative-prompt");
    require_latents_file(request.latents_path);
  }
  return requests;
}

OutputPatterns read_output_patterns(const Flags& flags, int64_t num_videos) {
  OutputPatterns patterns{.video = flags.path("output"),
                          .dump = flags.path("dump"),
                          .save_latents = flags.path("save-latents"),
                          .several = num_videos > 1};
  flags.problems().throw_if_any();
  patterns.video = output_pattern(patterns.video, patterns.several);
  if (!patterns.several) return patterns;
  T2V_REQUIRE(patterns.video != "-", ErrorKind::kUsage,
              "--output: standard output takes one video, not ", num_videos,
              " (command line); try a folder");
  require_names_that_differ(patterns.video, "--output");
  require_names_that_differ(patterns.dump, "--dump");
  require_names_that_differ(patterns.save_latents, "--save-latents");
  return patterns;
}

std::vector<Job> make_jobs(const Engine& engine, const std::vector<Request>& requests,
                           int64_t count, const OutputPatterns& patterns) {
  std::vector<Job> jobs;
  for (const Request& request : requests) {
    const Recipe first = engine.resolve(request);
    const uint64_t room = std::numeric_limits<uint64_t>::max() - first.seed;
    T2V_REQUIRE(static_cast<uint64_t>(count - 1) <= room, ErrorKind::kUsage, "--count: ", count,
                " seeds from ", first.seed,
                " on go beyond 2^64-1 (command line); try a smaller --seed");
    for (int64_t i = 0; i < count; ++i) {
      Job job{.recipe = first, .output = {}, .dump_path = {}, .save_latents_path = {}};
      job.recipe.seed += static_cast<uint64_t>(i);
      const NamedVideo video{.index = static_cast<int64_t>(jobs.size()) + 1,
                             .seed = job.recipe.seed,
                             .prompt = request.prompt};
      job.output = expand_name(patterns.video, video);
      job.dump_path = expand_name(patterns.dump, video);
      job.save_latents_path = expand_name(patterns.save_latents, video);
      jobs.push_back(std::move(job));
    }
  }
  return jobs;
}

}  // namespace t2v::cli
