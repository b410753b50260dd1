// Where finished frames go: video files, PNG folders, tests. Implemented by media, called by the
// engine.
#pragma once

#include <cstdint>
#include <string>

namespace t2v {

struct VideoFormat {
  int64_t width = 0;       // px, may be odd
  int64_t height = 0;      // px, may be odd
  int64_t num_frames = 0;  // frames that will follow
  double fps = 16.0;
  std::string recipe_json;  // embedded by formats that can; "" = none
};

// Called from one thread, in this order: begin, write*, then finish or abort. Throws
// Error{kOutput}.
class FrameSink {
 public:
  FrameSink() = default;
  FrameSink(const FrameSink&) = delete;
  FrameSink& operator=(const FrameSink&) = delete;
  virtual ~FrameSink();

  virtual void begin(const VideoFormat& format) = 0;
  // rgb: num_frames x height x width x 3 bytes, tightly packed, copied before the call returns.
  virtual void write(const uint8_t* rgb, int64_t num_frames) = 0;
  // Makes the result visible under its final name; nothing is visible before.
  virtual void finish() = 0;
  // Removes every trace of an unfinished result. Safe at any time, also after finish (then a
  // no-op).
  virtual void abort() noexcept = 0;
};

}  // namespace t2v
