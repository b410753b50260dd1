// t2v encode: a picture or a video to latents, the other way than decode.
#include <algorithm>
#include <filesystem>
#include <optional>

#include "cli/commands.h"
#include "cli/console.h"
#include "cli/engine_options.h"
#include "cli/output_names.h"
#include "cli/parts.h"
#include "cli/pictures.h"
#include "cli/profile_json.h"
#include "cli/report.h"
#include "cli/signals.h"
#include "cli/streams.h"
#include "cli/summary.h"
#include "cli/video_output.h"
#include "core/check.h"

namespace t2v::cli {
namespace {

constexpr int64_t kMaxFrames = 1 << 20;

struct EncodeOptions {
  EngineOptions engine;
  TalkOptions talk;
  std::string output;
  std::optional<int64_t> frames;  // the first ones alone
};

EncodeOptions read_encode_options(const Flags& flags) {
  EncodeOptions options;
  options.engine = read_engine_options(flags);
  options.talk = read_talk_options(flags);
  options.frames = flags.integer("frames", 1, kMaxFrames);
  if (!flags.has("output")) {
    flags.problems().add(
        "--output: a name for the latents is needed (command line); try -o video.safetensors");
  }
  options.output = flags.path("output");
  flags.problems().throw_if_any();
  return options;
}

// The first frames of another source.
class FirstFrames final : public FrameSource {
 public:
  FirstFrames(FrameSource& from, int64_t most) : from_(from), most_(most) {}
  [[nodiscard]] SourceFormat format() const override {
    SourceFormat format = from_.format();
    format.num_frames = most_;
    return format;
  }
  bool read(std::vector<uint8_t>& rgb) override {
    if (read_ == most_) return false;
    T2V_REQUIRE(from_.read(rgb), ErrorKind::kInput, "the video has ", read_,
                " frames, --frames asks for ", most_, "; try fewer");
    ++read_;
    return true;
  }

 private:
  FrameSource& from_;
  int64_t most_;
  int64_t read_ = 0;
};

}  // namespace

void run_encode(const Invocation& invocation) {
  require_positionals(invocation, "VIDEO");
  Problems problems = invocation.problems;
  const Flags flags(invocation.settings, problems);
  const EncodeOptions options = read_encode_options(flags);
  const std::string& video = invocation.positionals.front();
  const auto source = open_frames(video, "VIDEO");
  FirstFrames frames(*source, options.frames.value_or(-1));
  NameRegistry names;
  names.add(video, "VIDEO");
  names.add(options.output, "--output");
  names.add(options.talk.profile_path, "--profile");
  names.add(options.talk.trace_path, "--trace");
  for (const auto& [path, flag] : {std::pair{&options.output, "--output"},
                                   {&options.talk.profile_path, "--profile"},
                                   {&options.talk.trace_path, "--trace"}})
    require_file_path(*path, flag);
  const auto engine = load_engine(options.engine);
  throw_if_interrupted();

  Console console(options.talk);
  FrameSource& wanted = options.frames ? static_cast<FrameSource&>(frames) : *source;
  const Report report = engine->encode(wanted, options.output, console, cancel_token());
  console.end_line();
  for (const std::string& warning : report.warnings) console.warn(warning);
  console.tell(summary_text(report, options.output));
  console.tell_json(done_json(report, options.output));
  if (options.talk.profile && options.talk.profile_path.empty())
    write_stderr(profile_table(report));
  if (!options.talk.profile_path.empty())
    write_file(options.talk.profile_path, join_profiles({profile_json(report, "")}));
  if (!options.talk.trace_path.empty()) engine->write_trace(options.talk.trace_path);
  write_stdout(options.output + "\n");
}

}  // namespace t2v::cli
