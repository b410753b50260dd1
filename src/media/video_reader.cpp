#include "media/video_reader.h"

extern "C" {
#include <libavutil/display.h>
#include <libavutil/version.h>
}

#include <algorithm>
#include <string_view>
#include <utility>

#include "core/check.h"
#include "core/escape.h"

namespace t2v::media {
namespace {

constexpr const char* kFormats =
    "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,yuv4mpegpipe,avi,gif,apng,png_pipe,jpeg_pipe,"
    "webp_pipe,bmp_pipe,tiff_pipe,ppm_pipe,pgm_pipe";
constexpr int kMaxSide = 16384;  // px

std::string quoted_path(const std::string& path) {
  return core::str("'", core::escape_control(path), "'");
}

Orientation stream_orientation(const AVStream& stream) {
#if LIBAVFORMAT_VERSION_MAJOR >= 61
  const AVPacketSideData* data =
      av_packet_side_data_get(stream.codecpar->coded_side_data, stream.codecpar->nb_coded_side_data,
                              AV_PKT_DATA_DISPLAYMATRIX);
  if (data && data->size >= 9 * sizeof(int32_t))
    return orientation_of(reinterpret_cast<const int32_t*>(data->data));
#else
  const uint8_t* data = av_stream_get_side_data(&stream, AV_PKT_DATA_DISPLAYMATRIX, nullptr);
  if (data) return orientation_of(reinterpret_cast<const int32_t*>(data));
#endif
  return {};
}

}  // namespace

VideoReader::VideoReader(const std::string& path)
    : path_(path), packet_(av_packet_alloc()), frame_(av_frame_alloc()) {
  T2V_REQUIRE(packet_ && frame_, ErrorKind::kOutOfMemory,
              "out of host memory; try closing other programs");
  capture_av_log();
  forget_av_log();
  open(path);
  T2V_REQUIRE(decode(), ErrorKind::kInput, "no picture in ", quoted_path(path_),
              "; is the file whole?");
  first_ = picture();
  has_first_ = true;
  format_.width = first_.width;
  format_.height = first_.height;
}

void VideoReader::open(const std::string& path) {
  Dictionary options;
  options.set("protocol_whitelist", "file");
  options.set("format_whitelist", kFormats);
  AVFormatContext* opened = nullptr;
  int code = avformat_open_input(&opened, ("file:" + path).c_str(), nullptr, options.address());
  T2V_REQUIRE(code >= 0, ErrorKind::kInput, "cannot read ", quoted_path(path), ": ",
              av_reason(code), "; try a PNG or JPEG picture or an MP4 video");
  input_.reset(opened);
  code = avformat_find_stream_info(input_.get(), nullptr);
  T2V_REQUIRE(code >= 0, ErrorKind::kInput, "cannot read ", quoted_path(path), ": ",
              av_reason(code), "; is the file whole?");
  const AVCodec* codec = nullptr;
  stream_ = av_find_best_stream(input_.get(), AVMEDIA_TYPE_VIDEO, -1, -1,
                                const_cast<decltype(&codec)>(&codec), 0);
  T2V_REQUIRE(stream_ >= 0 && codec, ErrorKind::kInput, "no picture track that can be decoded in ",
              quoted_path(path), "; try a PNG or JPEG picture or an H.264 video");
  const AVStream& stream = *input_->streams[stream_];
  T2V_REQUIRE(stream.codecpar->width <= kMaxSide && stream.codecpar->height <= kMaxSide,
              ErrorKind::kInput, "the picture in ", quoted_path(path), " is ",
              stream.codecpar->width, "x", stream.codecpar->height, ", at most ", kMaxSide,
              " px a side can be read; try a smaller one");
  kind_ = std::string_view(input_->iformat->name).ends_with("_pipe") ? PictureKind::kStill
                                                                     : PictureKind::kVideo;
  stream_orientation_ = stream_orientation(stream);
  const AVRational rate =
      stream.avg_frame_rate.num > 0 ? stream.avg_frame_rate : stream.r_frame_rate;
  if (kind_ == PictureKind::kVideo && rate.num > 0 && rate.den > 0) format_.fps = av_q2d(rate);
  format_.num_frames = kind_ == PictureKind::kStill ? 1 : std::max<int64_t>(stream.nb_frames, 0);
  decoder_.reset(avcodec_alloc_context3(codec));
  T2V_REQUIRE(decoder_, ErrorKind::kOutOfMemory, "out of host memory; try closing other programs");
  avcodec_parameters_to_context(decoder_.get(), stream.codecpar);
  decoder_->err_recognition |= AV_EF_EXPLODE;
  code = avcodec_open2(decoder_.get(), codec, nullptr);
  T2V_REQUIRE(code >= 0, ErrorKind::kInput, "cannot decode ", quoted_path(path), ": ",
              av_reason(code), "; try another format");
}

// The next packet to the decoder, or that there is none.
void VideoReader::feed() {
  for (;;) {
    int code = av_read_frame(input_.get(), packet_.get());
    if (code == AVERROR_EOF) {
      code = avcodec_send_packet(decoder_.get(), nullptr);
    } else {
      T2V_REQUIRE(code >= 0, ErrorKind::kInput, "broken file ", quoted_path(path_), ": ",
                  av_reason(code), "; is it whole?");
      const bool ours = packet_->stream_index == stream_;
      if (ours) code = avcodec_send_packet(decoder_.get(), packet_.get());
      av_packet_unref(packet_.get());
      if (!ours) continue;
    }
    T2V_REQUIRE(code >= 0 || code == AVERROR_EOF, ErrorKind::kInput, "broken picture in ",
                quoted_path(path_), ": ", av_reason(code), "; is the file whole?");
    return;
  }
}

bool VideoReader::decode() {
  for (;;) {
    const int code = avcodec_receive_frame(decoder_.get(), frame_.get());
    if (code == AVERROR_EOF) return false;
    if (code == AVERROR(EAGAIN)) {
      feed();
      continue;
    }
    T2V_REQUIRE(code >= 0 && frame_->decode_error_flags == 0 &&
                    (frame_->flags & AV_FRAME_FLAG_CORRUPT) == 0,
                ErrorKind::kInput, "broken picture in ", quoted_path(path_), ": ",
                av_reason(code < 0 ? code : AVERROR_INVALIDDATA), "; is the file whole?");
    return true;
  }
}

RgbPicture VideoReader::picture() const {
  const AVFrameSideData* side = av_frame_get_side_data(frame_.get(), AV_FRAME_DATA_DISPLAYMATRIX);
  const Orientation orientation = side && side->size >= 9 * sizeof(int32_t)
                                      ? orientation_of(reinterpret_cast<const int32_t*>(side->data))
                                      : stream_orientation_;
  return turned(to_rgb(*frame_, kind_), orientation);
}

bool VideoReader::read(std::vector<uint8_t>& rgb) {
  if (has_first_) {
    has_first_ = false;
    rgb = std::move(first_.rgb);
    return true;
  }
  if (kind_ == PictureKind::kStill || !decode()) return false;
  RgbPicture next = picture();
  T2V_REQUIRE(next.width == format_.width && next.height == format_.height, ErrorKind::kInput,
              "frames of ", quoted_path(path_), " differ in size: ", next.width, "x", next.height,
              " behind ", format_.width, "x", format_.height, "; try a video of one size");
  rgb = std::move(next.rgb);
  return true;
}

}  // namespace t2v::media
