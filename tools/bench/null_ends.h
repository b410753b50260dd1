// A sink and a listener that take everything and do nothing. For benchmark programs only.
#pragma once

#include <cstdint>

#include "t2v/frame_sink.h"
#include "t2v/progress.h"

namespace t2v::bench {

class NullSink final : public FrameSink {
 public:
  void begin(const VideoFormat&) override {}
  void write(const uint8_t*, int64_t) override {}
  void finish() override {}
  void abort() noexcept override {}
};

class NullListener final : public ProgressListener {
 public:
  void on_progress(const ProgressEvent&) override {}
};

}  // namespace t2v::bench
