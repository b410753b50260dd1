// Uncompressed frames: YUV4MPEG2 (.y4m, BT.709 limited range) or bare RGB bytes (.rgb).
#pragma once

#include <memory>
#include <vector>

#include "core/atomic_file.h"
#include "media/media.h"
#include "media/media_sink.h"
#include "media/pixel_converter.h"

namespace t2v::media {

// Throws Error{kUsage}: .y4m takes pix_fmt yuv420p, yuv422p or yuv444p, .rgb takes none.
void check_raw_options(const SinkOptions& options);

class RawWriter : public MediaSink {
 public:
  explicit RawWriter(SinkOptions options) : options_(std::move(options)) {}

  void begin(const VideoFormat& format) override;
  void write(const uint8_t* rgb, int64_t num_frames) override;
  void finish() override;
  void abort() noexcept override;

 private:
  void write_y4m_frame(const uint8_t* rgb);

  SinkOptions options_;
  VideoFormat format_;
  std::unique_ptr<core::AtomicFile> file_;
  std::unique_ptr<PixelConverter> converter_;  // null for .rgb
  std::vector<uint8_t> planes_;                // one Y4M frame
  Planes addresses_;
};

}  // namespace t2v::media
