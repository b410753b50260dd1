// One video as a batch of one.
#include "t2v/engine.h"

#include <optional>

namespace t2v {
namespace {

class SingleHost final : public BatchHost {
 public:
  explicit SingleHost(FrameSink* sink) : sink_(sink) {}
  void on_begin(size_t) override {}
  FrameSink* open_sink(size_t) override { return sink_; }
  void on_done(size_t, const Report& report) override { report_ = report; }
  AfterFailure on_failed(size_t, const Error& error) override {
    error_ = error;
    return AfterFailure::kStop;
  }
  Report result() const {
    if (error_) throw Error(*error_);
    return report_.value();
  }

 private:
  FrameSink* sink_;
  std::optional<Report> report_;
  std::optional<Error> error_;
};

}  // namespace

BatchHost::~BatchHost() = default;
PreviewListener::~PreviewListener() = default;

Report Engine::generate(const Recipe& recipe, const GenerateOutputs& outputs,
                        ProgressListener& progress, const CancelToken& cancel) {
  SingleHost host(outputs.sink);
  generate_all({{.recipe = recipe, .outputs = outputs}}, host, progress, cancel);
  return host.result();
}

}  // namespace t2v
