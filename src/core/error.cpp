// Key functions of the public interfaces, so that their type information has one home; words of
// their enumerations.
#include "t2v/error.h"

#include "core/check.h"
#include "t2v/engine.h"
#include "t2v/frame_sink.h"
#include "t2v/frame_source.h"
#include "t2v/progress.h"
#include "t2v/request.h"

namespace t2v {

Error::~Error() = default;
FrameSink::~FrameSink() = default;
FrameSource::~FrameSource() = default;
ProgressListener::~ProgressListener() = default;
Engine::~Engine() = default;

const char* stage_name(Stage stage) noexcept {
  switch (stage) {
    case Stage::kLoadTextEncoder:
      return "load_text_encoder";
    case Stage::kTextEncode:
      return "text_encode";
    case Stage::kVaeEncode:
      return "vae_encode";
    case Stage::kLoadTransformer:
      return "load_transformer";
    case Stage::kDenoise:
      return "denoise";
    case Stage::kLoadVae:
      return "load_vae";
    case Stage::kVaeDecode:
      return "vae_decode";
    case Stage::kVideoEncode:
      return "video_encode";
  }
  return "unknown";
}

const char* solver_name(Solver solver) noexcept {
  switch (solver) {
    case Solver::kUniPC:
      return "unipc";
    case Solver::kEuler:
      return "euler";
    case Solver::kDpmpp:
      return "dpm++";
    case Solver::kRenoise:
      return "renoise";
  }
  return "unknown";
}

const char* step_cache_name(StepCachePolicy policy) noexcept {
  switch (policy) {
    case StepCachePolicy::kOff:
      return "off";
    case StepCachePolicy::kEasy:
      return "easy";
    case StepCachePolicy::kMag:
      return "mag";
  }
  return "unknown";
}

const std::vector<std::string>& preset_names() {
  static const std::vector<std::string> names = {
      "official",      "diffusers", "mlperf", "lightning-4",  "lightning-8",
      "stepdistill-4", "fastwan",   "rcm",    "causvid-lora", "draft",
      "preview",       "standard",  "high"};
  return names;
}

const char* sigma_table_name(SigmaTable table) noexcept {
  return table == SigmaTable::kWan ? "wan" : "diffusers";
}

const char* quant_name(Quant quant) noexcept {
  switch (quant) {
    case Quant::kAuto:
      return "auto";
    case Quant::kNone:
      return "none";
    case Quant::kInt8:
      return "int8";
    case Quant::kInt8Weights:
      return "int8-wo";
    case Quant::kFp8:
      return "fp8";
  }
  return "unknown";
}

const char* prompt_change_name(PromptChange change) noexcept {
  switch (change) {
    case PromptChange::kResetCross:
      return "reset-cross";
    case PromptChange::kRecache:
      return "recache";
    case PromptChange::kFlush:
      return "flush";
  }
  return "unknown";
}

const char* sink_rope_name(SinkRope rope) noexcept {
  return rope == SinkRope::kAbsolute ? "absolute" : "relative";
}

}  // namespace t2v

namespace t2v::core {

std::string assert_message(const char* expression, const char* file, int line) {
  return str("internal check failed: ", expression, " (", file, ":", line,
             "); this is a bug in t2v, please report it");
}

}  // namespace t2v::core
