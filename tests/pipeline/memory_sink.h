// A sink that keeps frames in memory, and a listener that is silent unless told otherwise.
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "t2v/error.h"
#include "t2v/frame_sink.h"
#include "t2v/progress.h"

namespace t2v::test {

class SilentListener final : public ProgressListener {
 public:
  void on_progress(const ProgressEvent& event) override {
    if (on_event) on_event(event);
  }
  std::function<void(const ProgressEvent&)> on_event;
};

// Keeps frames in memory; fails on demand.
class MemorySink final : public FrameSink {
 public:
  void begin(const VideoFormat& given) override { format = given; }
  void write(const uint8_t* rgb, int64_t num_frames) override {
    if (fail || (fail_at > 0 && frames + num_frames >= fail_at))
      throw Error(ErrorKind::kOutput, "no space left on device");
    bytes.insert(bytes.end(), rgb, rgb + num_frames * format.width * format.height * 3);
    frames += num_frames;
    ++writes;
    if (on_write) on_write(frames);
  }
  void finish() override { finished = true; }
  void abort() noexcept override { aborted = true; }

  VideoFormat format;
  std::vector<uint8_t> bytes;
  int64_t frames = 0;
  int64_t writes = 0;
  std::function<void(int64_t frames)> on_write;  // behind each write: those that are there
  int64_t fail_at = 0;                           // the frame that finds no place; 0: none
  bool fail = false, finished = false, aborted = false;
};

}  // namespace t2v::test
