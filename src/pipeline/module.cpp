// Entry point of libt2v_engine.so (core/module.h).
#include "t2v/engine.h"
#include "t2v/machine.h"
#include "t2v/quantize.h"
#include "t2v/verify.h"

extern "C" __attribute__((visibility("default"))) t2v::Engine* t2v_create_engine(
    const t2v::EngineOptions& options) {
  return t2v::open_engine(options).release();
}

extern "C" __attribute__((visibility("default"))) void t2v_inspect_model(
    const t2v::EngineOptions& options, t2v::ReportFormat format, std::string& report) {
  report = t2v::inspect_model(options, format);
}

extern "C" __attribute__((visibility("default"))) void t2v_verify_model(
    const t2v::VerifyOptions& options, const t2v::CancelToken& cancel, t2v::VerifyReport& report) {
  report = t2v::verify_model(options, cancel);
}

extern "C" __attribute__((visibility("default"))) void t2v_quantize_model(
    const t2v::QuantizeOptions& options, const t2v::CancelToken& cancel,
    t2v::QuantizeReport& report) {
  report = t2v::quantize_model(options, cancel);
}

extern "C" __attribute__((visibility("default"))) void t2v_examine_machine(
    const t2v::EngineOptions& options, t2v::MachineFacts& facts) {
  facts = t2v::examine_machine(options);
}

extern "C" __attribute__((visibility("default"))) void t2v_preview_latents(
    const std::string& path, double fps, t2v::FrameSink& sink, t2v::ProgressListener& progress,
    const t2v::CancelToken& cancel, t2v::Report& report) {
  report = t2v::preview_latents(path, fps, sink, progress, cancel);
}
