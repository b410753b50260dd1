// t2v decode: saved latents to a video; finishes a run whose video could not be saved.
#include <filesystem>
#include <system_error>

#include "cli/commands.h"
#include "cli/console.h"
#include "cli/engine_options.h"
#include "cli/output_names.h"
#include "cli/parts.h"
#include "cli/profile_json.h"
#include "cli/report.h"
#include "cli/signals.h"
#include "cli/streams.h"
#include "cli/summary.h"
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

struct DecodeOptions {
  EngineOptions engine;
  TalkOptions talk;
  media::SinkOptions sink;
  double fps = 0;        // 0 = of the latents
  bool preview = false;  // no VAE: no model at all
};

DecodeOptions read_decode_options(const Flags& flags) {
  DecodeOptions options;
  options.preview = flags.has("preview");
  options.engine = options.preview ? read_running_options(flags) : read_engine_options(flags);
  options.talk = read_talk_options(flags);
  options.sink = read_sink_options(flags);
  options.fps = flags.real("fps", {.low = 0, .high = 1000, .low_open = true}).value_or(0);
  if (!flags.has("output")) {
    flags.problems().add("--output: a name for the video is needed (command line); try -o out.mp4");
  }
  static_cast<void>(flags.path("output"));
  flags.problems().throw_if_any();
  return options;
}

void require_latents_file(const std::string& latents) {
  std::error_code ignored;
  T2V_REQUIRE(fs::exists(latents, ignored), ErrorKind::kInput,
              "cannot read latents: no such file (", quoted(latents), ")");
  T2V_REQUIRE(!fs::is_directory(latents, ignored), ErrorKind::kInput,
              "cannot read latents: it is a folder (", quoted(latents), ")");
}

}  // namespace

void run_decode(const Invocation& invocation) {
  require_positionals(invocation, "LATENTS");
  Problems problems = invocation.problems;
  const Flags flags(invocation.settings, problems);
  const DecodeOptions options = read_decode_options(flags);
  const std::string& latents = invocation.positionals.front();
  require_latents_file(latents);
  const std::string path = video_path(flags.path("output"), latents);
  NameRegistry names;
  names.add(latents, "LATENTS");
  names.add(path, "--output");
  names.add(options.talk.profile_path, "--profile");
  names.add(options.talk.trace_path, "--trace");
  require_video_target(with_path(options.sink, path));
  require_file_path(options.talk.profile_path, "--profile");
  require_file_path(options.talk.trace_path, "--trace");
  const auto engine = options.preview ? nullptr : load_engine(options.engine);
  throw_if_interrupted();

  Console console(options.talk);
  const auto sink = media::open_media().create_sink(with_path(options.sink, path));
  const Report report = engine
                            ? engine->decode(latents, options.fps, *sink, console, cancel_token())
                            : show_latents(latents, options.fps, *sink, console);
  console.end_line();
  for (const std::string& warning : report.warnings) console.warn(warning);
  console.tell(summary_text(report, path));
  console.tell_json(done_json(report, path));
  if (options.talk.profile && options.talk.profile_path.empty())
    write_stderr(profile_table(report));
  if (!options.talk.profile_path.empty()) {
    const std::string recipe = engine ? engine->recipe_json(report.recipe) : "";
    write_file(options.talk.profile_path, join_profiles({profile_json(report, recipe)}));
  }
  if (engine && !options.talk.trace_path.empty()) engine->write_trace(options.talk.trace_path);
  if (path != "-") write_stdout(path + "\n");
}

}  // namespace t2v::cli
