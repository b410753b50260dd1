// Lays the mark of --watermark over each frame on its way to the writer.
#pragma once

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "media/mark.h"
#include "media/sink_layer.h"

namespace t2v::media {

class WatermarkSink : public SinkLayer {
 public:
  WatermarkSink(std::unique_ptr<MediaSink> inner, std::string watermark)
      : SinkLayer(std::move(inner)), watermark_(std::move(watermark)) {}

  void begin(const VideoFormat& format) override {
    mark_ = make_mark(watermark_, format.width, format.height);
    width_ = format.width;
    frame_.resize(static_cast<size_t>(format.width * format.height * 3));
    SinkLayer::begin(format);
  }

  void write(const uint8_t* rgb, int64_t num_frames) override {
    for (int64_t i = 0; i < num_frames; ++i, rgb += frame_.size()) {
      frame_.assign(rgb, rgb + frame_.size());
      blend_mark(mark_, frame_.data(), width_);
      SinkLayer::write(frame_.data(), 1);
    }
  }

 private:
  std::string watermark_;
  Mark mark_;
  int64_t width_ = 0;
  std::vector<uint8_t> frame_;
};

}  // namespace t2v::media
