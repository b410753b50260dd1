// One picture as JPEG: 4:4:4, full-range BT.601 as JFIF has it.
#include <algorithm>
#include <array>
#include <cmath>

#include "core/check.h"
#include "media/av_handle.h"
#include "media/video_backend.h"

namespace t2v::media::video {
namespace {

constexpr int kQuality = 3;  // libav's scale, 2 (best) to 31

uint8_t to_byte(double value) {
  return static_cast<uint8_t>(std::clamp<long>(std::lround(value), 0, 255));
}

void fill(AVFrame& frame, const uint8_t* rgb) {
  for (int y = 0; y < frame.height; ++y) {
    for (int x = 0; x < frame.width; ++x, rgb += 3) {
      const double luma = 0.299 * rgb[0] + 0.587 * rgb[1] + 0.114 * rgb[2];
      frame.data[0][y * frame.linesize[0] + x] = to_byte(luma);
      frame.data[1][y * frame.linesize[1] + x] = to_byte(128 + (rgb[2] - luma) * 0.564);
      frame.data[2][y * frame.linesize[2] + x] = to_byte(128 + (rgb[0] - luma) * 0.713);
    }
  }
}

void require(int code, const char* what) {
  T2V_REQUIRE(code >= 0, ErrorKind::kOutput, "cannot encode a JPEG: ", what, ": ", av_reason(code));
}

}  // namespace

std::string make_jpeg(const uint8_t* rgb, int width, int height) {
  const AVCodec* codec = avcodec_find_encoder(AV_CODEC_ID_MJPEG);
  T2V_REQUIRE(codec, ErrorKind::kUsage,
              "this FFmpeg has no JPEG encoder (--preview); try a name that ends in .png");
  const CodecContext context(avcodec_alloc_context3(codec));
  const Frame frame(av_frame_alloc());
  const Packet packet(av_packet_alloc());
  T2V_REQUIRE(context && frame && packet, ErrorKind::kOutOfMemory, "no memory for a JPEG");
  context->width = frame->width = width;
  context->height = frame->height = height;
  context->pix_fmt = AV_PIX_FMT_YUVJ444P;
  frame->format = AV_PIX_FMT_YUVJ444P;
  context->time_base = {1, 1};
  context->flags |= AV_CODEC_FLAG_QSCALE;
  context->global_quality = FF_QP2LAMBDA * kQuality;
  frame->quality = context->global_quality;
  require(avcodec_open2(context.get(), codec, nullptr), "open");
  require(av_frame_get_buffer(frame.get(), 0), "buffer");
  fill(*frame, rgb);
  require(avcodec_send_frame(context.get(), frame.get()), "send");
  require(avcodec_receive_packet(context.get(), packet.get()), "receive");
  return {reinterpret_cast<const char*>(packet->data), static_cast<size_t>(packet->size)};
}

}  // namespace t2v::media::video
