// RGB frames in, packets out: one libavcodec encoder with BT.709 tags.
#pragma once

#include <functional>
#include <optional>

#include "media/encoder_plan.h"
#include "media/frame_rate.h"

namespace t2v::media {

class VideoEncoder {
 public:
  using PacketFn = std::function<void(AVPacket&)>;

  struct Settings {
    int width = 0;   // px
    int height = 0;  // px
    FrameRate rate;
    bool describe_itself = true;  // false: no encoder settings inside the stream
  };

  // Throws Error{kUsage} when the codec refuses the settings.
  VideoEncoder(const EncoderPlan& plan, const Settings& settings);

  VideoEncoder(const VideoEncoder&) = delete;
  VideoEncoder& operator=(const VideoEncoder&) = delete;
  ~VideoEncoder();

  // rgb: height x width x 3. Packets (time base 1/rate, duration 1) leave in coding order, some
  // later. Throws Error{kOutput}.
  void encode(const uint8_t* rgb, const PacketFn& take);
  void flush(const PacketFn& take);

  // For the muxer: what the stream is, after the bitstream filter.
  [[nodiscard]] const AVCodecParameters& parameters() const noexcept { return *filter_->par_out; }
  [[nodiscard]] AVRational time_base() const noexcept { return codec_->time_base; }

 private:
  void set_colours(const EncoderPlan& plan);
  void open_filter(bool describe_itself);
  void send(const AVFrame* frame, const PacketFn& take);
  void filter(AVPacket* packet, const PacketFn& take);

  CodecContext codec_;
  BitstreamFilter filter_;
  Frame frame_;
  Packet packet_;
  Packet filtered_;
  PixelConverter converter_;
  int64_t next_pts_ = 0;
  // libx265 only, which leaves decoding times unset in clips shorter than its delay of two frames;
  // in others these are its own.
  int64_t next_dts_ = -2;
  bool flushed_ = false;
};

}  // namespace t2v::media
