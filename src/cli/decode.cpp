// t2v decode: saved latents to a video; finishes a run whose video could not be saved.
#include <filesystem>
#include <system_error>

#include "cli/commands.h"
#include "cli/console.h"
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

// A folder gets a video named like the latents.
std::string video_path(const std::string& output, const std::string& latents) {
  if (!is_output_folder(output, false)) return output;
  return (fs::path(output) / fs::path(latents).stem()).string() + ".mp4";
}

}  // namespace

void run_decode(const Invocation& invocation) {
  require_positionals(invocation, "LATENTS");
  Problems problems = invocation.problems;
  const Flags flags(invocation.settings, problems);
  const EngineOptions engine_options = read_engine_options(flags);
  const TalkOptions talk = read_talk_options(flags);
  const media::SinkOptions sink_options = read_sink_options(flags);
  const double fps = flags.real("fps", {.low = 0, .high = 1000, .low_open = true}).value_or(0);
  if (!flags.has("output")) {
    problems.add("--output: a name for the video is needed (command line); try -o out.mp4");
  }
  const std::string output = flags.path("output");
  problems.throw_if_any();
  const std::string& latents = invocation.positionals.front();
  std::error_code ignored;
  T2V_REQUIRE(fs::exists(latents, ignored), ErrorKind::kInput,
              "cannot read latents: no such file (", quoted(latents), ")");
  T2V_REQUIRE(!fs::is_directory(latents, ignored), ErrorKind::kInput,
              "cannot read latents: it is a folder (", quoted(latents), ")");

  const std::string path = video_path(output, latents);
  NameRegistry names;
  names.add(latents, "LATENTS");
  names.add(path, "--output");
  names.add(talk.profile_path, "--profile");
  require_video_target(with_path(sink_options, path));
  require_file_path(talk.profile_path, "--profile");
  const auto engine = load_engine(engine_options);
  throw_if_interrupted();

  Console console(talk);
  const auto sink = media::open_media().create_sink(with_path(sink_options, path));
  const Report report = engine->decode(latents, fps, *sink, console, cancel_token());
  console.end_line();
  for (const std::string& warning : report.warnings) console.warn(warning);
  console.tell(summary_text(report, path));
  console.tell_json(done_json(report, path));
  if (talk.profile && talk.profile_path.empty()) write_stderr(profile_table(report));
  if (!talk.profile_path.empty()) {
    write_file(talk.profile_path,
               join_profiles({profile_json(report, engine->recipe_json(report.recipe))}));
  }
  if (path != "-") write_stdout(path + "\n");
}

}  // namespace t2v::cli
