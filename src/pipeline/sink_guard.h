// Removes what a sink has written unless it was finished.
#pragma once

#include "t2v/frame_sink.h"

namespace t2v::pipeline {

class SinkGuard {
 public:
  explicit SinkGuard(FrameSink* sink) : sink_(sink) {}  // may be null
  SinkGuard(const SinkGuard&) = delete;
  SinkGuard& operator=(const SinkGuard&) = delete;
  ~SinkGuard() {
    if (sink_) sink_->abort();
  }
  void release() noexcept { sink_ = nullptr; }

 private:
  FrameSink* sink_;
};

}  // namespace t2v::pipeline
