// A sink in front of another one, for what happens to frames on their way to the writer.
#pragma once

#include <memory>
#include <utility>

#include "media/media_sink.h"

namespace t2v::media {

class SinkLayer : public MediaSink {
 public:
  explicit SinkLayer(std::unique_ptr<MediaSink> inner) : inner_(std::move(inner)) {}

  void begin(const VideoFormat& format) override { inner_->begin(format); }
  void write(const uint8_t* rgb, int64_t num_frames) override { inner_->write(rgb, num_frames); }
  void finish() override { inner_->finish(); }
  void abort() noexcept override { inner_->abort(); }
  void interrupt() noexcept override { inner_->interrupt(); }

 protected:
  [[nodiscard]] MediaSink& inner() noexcept { return *inner_; }

 private:
  std::unique_ptr<MediaSink> inner_;
};

}  // namespace t2v::media
