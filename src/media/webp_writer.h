// Frames as an animated WebP, by libavcodec's libwebp_anim.
#pragma once

#include <memory>
#include <string>

#include "media/media.h"
#include "media/media_sink.h"
#include "media/video_encoder.h"

namespace t2v::media {

class WebpWriter : public MediaSink {
 public:
  explicit WebpWriter(SinkOptions options) : options_(std::move(options)) {}

  void begin(const VideoFormat& format) override;
  void write(const uint8_t* rgb, int64_t num_frames) override;
  void finish() override;
  void abort() noexcept override;

 private:
  SinkOptions options_;
  VideoFormat format_;
  std::unique_ptr<VideoEncoder> encoder_;
  std::string bytes_;  // the encoder gives the whole file at its end
  int64_t written_ = 0;
};

}  // namespace t2v::media
