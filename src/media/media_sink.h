// What every sink of this folder can do beside being a FrameSink.
#pragma once

#include "t2v/frame_sink.h"

namespace t2v::media {

class MediaSink : public FrameSink {
 public:
  // From any thread: makes a write that waits (a pipe that nobody reads) give up.
  virtual void interrupt() noexcept {}
};

}  // namespace t2v::media
