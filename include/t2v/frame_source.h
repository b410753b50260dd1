// Where frames come from: pictures and videos that users give. Implemented by media, called by the
// engine.
#pragma once

#include <cstdint>
#include <vector>

namespace t2v {

struct SourceFormat {
  int64_t width = 0;       // px
  int64_t height = 0;      // px
  double fps = 0;          // 0: a still picture
  int64_t num_frames = 0;  // 0: not known
};

// Called from one thread. Throws Error{kInput}.
class FrameSource {
 public:
  FrameSource() = default;
  FrameSource(const FrameSource&) = delete;
  FrameSource& operator=(const FrameSource&) = delete;
  virtual ~FrameSource();

  [[nodiscard]] virtual SourceFormat format() const = 0;
  // The next frame, height x width x 3 bytes, tightly packed; false: there is none.
  virtual bool read(std::vector<uint8_t>& rgb) = 0;
};

}  // namespace t2v
