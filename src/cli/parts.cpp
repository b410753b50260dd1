#include "cli/parts.h"

#include <sys/stat.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdlib>
#include <cstring>

#include "cli/problems.h"
#include "cli/signals.h"
#include "core/check.h"
#include "core/module.h"

namespace t2v::cli {
namespace {

constexpr std::array<std::string_view, 3> kRemoteSchemes = {"s3://", "http://", "https://"};

// LibTorch takes a moment to load: a mistyped path is told before. Remote ones are the engine's.
void require_path(const std::string& path, const char* what) {
  if (path.empty() || is_remote(path) || path.starts_with("random:")) return;
  const size_t scheme = path.find("://");
  T2V_REQUIRE(scheme == std::string::npos || scheme == 0 || path.find('/') < scheme,
              ErrorKind::kModel, "cannot open ", what, ": unknown kind of store ",
              quoted(path.substr(0, scheme + 3)), ", expected a path, s3://, http:// or https:// (",
              quoted(path), ")");
  struct stat status {};
  T2V_REQUIRE(::stat(path.c_str(), &status) == 0, ErrorKind::kModel, "cannot open ", what, ": ",
              std::strerror(errno), " (", quoted(path), ")");
}

void require_paths(const EngineOptions& options) {
  require_path(options.model_path, "model");
  require_path(options.components.transformer, "transformer");
  require_path(options.components.transformer_low, "low-noise transformer");
  require_path(options.components.text_encoder, "text encoder");
  require_path(options.components.vae, "VAE");
  require_path(options.components.tokenizer, "tokenizer");
  for (const LoraOption& lora : options.loras) require_path(lora.path, "LoRA");
}

}  // namespace

bool is_remote(std::string_view path) noexcept {
  return std::any_of(kRemoteSchemes.begin(), kRemoteSchemes.end(),
                     [&](std::string_view scheme) { return path.starts_with(scheme); });
}

std::unique_ptr<Engine> load_engine(const EngineOptions& options) {
  using CreateEngine = Engine* (*)(const EngineOptions&);
  require_paths(options);
  const auto create =
      reinterpret_cast<CreateEngine>(core::load_module("t2v_engine", "t2v_create_engine"));
  return std::unique_ptr<Engine>(create(options));
}

std::string show_model(const EngineOptions& options, ReportFormat format) {
  using InspectModel = void (*)(const EngineOptions&, ReportFormat, std::string&);
  require_paths(options);
  const auto inspect =
      reinterpret_cast<InspectModel>(core::load_module("t2v_engine", "t2v_inspect_model"));
  std::string report;
  inspect(options, format, report);
  return report;
}

MachineFacts examine(const EngineOptions& options) {
  using ExamineMachine = void (*)(const EngineOptions&, MachineFacts&);
  const auto look =
      reinterpret_cast<ExamineMachine>(core::load_module("t2v_engine", "t2v_examine_machine"));
  MachineFacts facts;
  look(options, facts);
  return facts;
}

QuantizeReport quantize(const QuantizeOptions& options) {
  using QuantizeModel = void (*)(const QuantizeOptions&, const CancelToken&, QuantizeReport&);
  require_paths(options.engine);
  const auto call =
      reinterpret_cast<QuantizeModel>(core::load_module("t2v_engine", "t2v_quantize_model"));
  QuantizeReport report;
  call(options, cancel_token(), report);
  return report;
}

Report show_latents(const std::string& latents_path, double fps, FrameSink& sink,
                    ProgressListener& progress) {
  using PreviewLatents = void (*)(const std::string&, double, FrameSink&, ProgressListener&,
                                  const CancelToken&, Report&);
  const auto preview =
      reinterpret_cast<PreviewLatents>(core::load_module("t2v_engine", "t2v_preview_latents"));
  Report report;
  preview(latents_path, fps, sink, progress, cancel_token(), report);
  return report;
}

}  // namespace t2v::cli
