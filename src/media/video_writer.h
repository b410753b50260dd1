// Frames to a video file or to standard output: encoder, muxer, metadata, atomic appearance.
#pragma once

#include <memory>
#include <optional>

#include "media/av_output.h"
#include "media/media.h"
#include "media/media_sink.h"
#include "media/video_encoder.h"

namespace t2v::media {

class VideoWriter : public MediaSink {
 public:
  explicit VideoWriter(SinkOptions options) : options_(std::move(options)) {}
  ~VideoWriter() override;

  void begin(const VideoFormat& format) override;
  void write(const uint8_t* rgb, int64_t num_frames) override;
  void finish() override;
  void abort() noexcept override;
  void interrupt() noexcept override;

 private:
  void open_muxer(const EncoderPlan& plan, FrameRate rate, const std::string& recipe_json);
  void mux(AVPacket& packet);
  void require(int code, const char* what) const;

  SinkOptions options_;
  VideoFormat format_;
  int64_t written_ = 0;
  std::unique_ptr<VideoEncoder> encoder_;
  std::unique_ptr<AvOutput> output_;
  Muxer muxer_;
  AVStream* stream_ = nullptr;
};

}  // namespace t2v::media
