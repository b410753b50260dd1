// A batch's host that keeps what became of each video, its frames in memory; and who interrupts a
// batch.
#pragma once

#include <map>
#include <memory>
#include <utility>
#include <vector>

#include "pipeline/memory_sink.h"
#include "t2v/engine.h"

namespace t2v::test {

class KeepingHost : public BatchHost {
 public:
  void on_begin(size_t i) override { begun.push_back(i); }
  FrameSink* open_sink(size_t i) override {
    return (sinks_[i] = std::make_shared<MemorySink>()).get();
  }
  void on_done(size_t i, const Report& report) override {
    ended.push_back(i);
    reports.insert_or_assign(i, report);
  }
  AfterFailure on_failed(size_t i, const Error& error) override {
    ended.push_back(i);
    errors.emplace_back(i, error);
    return after_failure;
  }
  [[nodiscard]] const std::vector<uint8_t>& bytes(size_t i) const { return sinks_.at(i)->bytes; }

  std::vector<size_t> begun, ended;
  std::map<size_t, Report> reports;
  std::vector<std::pair<size_t, Error>> errors;
  AfterFailure after_failure = AfterFailure::kGoOn;

 private:
  std::map<size_t, std::shared_ptr<MemorySink>> sinks_;
};

// Stops a run when so many of its steps are done.
class Interrupt final : public ProgressListener {
 public:
  explicit Interrupt(int64_t step) : step_(step) {}
  void on_progress(const ProgressEvent& event) override {
    if (event.stage == Stage::kDenoise && event.done >= step_) token.cancel();
  }
  CancelToken token;

 private:
  int64_t step_;
};

inline void run(Engine& engine, const std::vector<BatchItem>& items, BatchHost& host) {
  SilentListener listener;
  engine.generate_all(items, host, listener, {});
}

}  // namespace t2v::test
