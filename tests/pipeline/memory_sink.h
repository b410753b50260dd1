// A sink that keeps frames in memory, and a listener that says nothing.
#pragma once

#include <cstdint>
#include <vector>

#include "t2v/frame_sink.h"
#include "t2v/progress.h"

namespace t2v::test {

class SilentListener final : public ProgressListener {
 public:
  void on_progress(const ProgressEvent&) override {}
};

class MemorySink final : public FrameSink {
 public:
  void begin(const VideoFormat& given) override { format = given; }
  void write(const uint8_t* rgb, int64_t num_frames) override {
    bytes.insert(bytes.end(), rgb, rgb + num_frames * format.width * format.height * 3);
  }
  void finish() override { finished = true; }
  void abort() noexcept override { aborted = true; }

  VideoFormat format;
  std::vector<uint8_t> bytes;
  bool finished = false, aborted = false;
};

}  // namespace t2v::test
