#include "media/decoded_video.h"

#include <algorithm>
#include <catch2/catch.hpp>
#include <cmath>

#include "media/av_handle.h"

extern "C" {
#include <libavutil/pixdesc.h>
}

namespace t2v::media::test {
namespace {

uint8_t clipped(double value) {
  return static_cast<uint8_t>(std::lround(std::clamp(value, 0.0, 255.0)));
}

void append_yuv(std::vector<uint8_t>& out, double y, double cb, double cr, bool full) {
  const double luma = full ? y : (y - 16) * 255 / 219;
  const double scale = full ? 1.0 : 255.0 / 224;
  const double b = (cb - 128) * scale;
  const double r = (cr - 128) * scale;
  out.push_back(clipped(luma + 1.5748 * r));
  out.push_back(clipped(luma - 0.1873242729 * b - 0.4681242729 * r));
  out.push_back(clipped(luma + 1.8556 * b));
}

std::vector<uint8_t> to_rgb(const AVFrame& frame) {
  const AVPixFmtDescriptor& d = *av_pix_fmt_desc_get(static_cast<AVPixelFormat>(frame.format));
  const bool rgb = (d.flags & AV_PIX_FMT_FLAG_RGB) != 0;
  std::vector<uint8_t> out;
  const auto sample = [&](int component, int x, int y) -> double {
    const AVComponentDescriptor& c = d.comp[component];
    const bool chroma = !rgb && (component == 1 || component == 2);
    const int sx = chroma ? x >> d.log2_chroma_w : x;
    const int sy = chroma ? y >> d.log2_chroma_h : y;
    const uint8_t* at = frame.data[c.plane] + sy * frame.linesize[c.plane] + sx * c.step + c.offset;
    if (c.depth == 8) return *at;
    return ((at[0] | at[1] << 8) >> c.shift) / std::pow(2.0, c.depth - 8);
  };
  for (int y = 0; y < frame.height; ++y) {
    for (int x = 0; x < frame.width; ++x) {
      if (rgb) {
        for (int c = 0; c < 3; ++c) out.push_back(clipped(sample(c, x, y)));
      } else {
        append_yuv(out, sample(0, x, y), sample(1, x, y), sample(2, x, y),
                   frame.color_range == AVCOL_RANGE_JPEG);
      }
    }
  }
  return out;
}

void receive(AVCodecContext& codec, const AVStream& stream, DecodedVideo& video) {
  const Frame frame(av_frame_alloc());
  while (true) {
    const int code = avcodec_receive_frame(&codec, frame.get());
    if (code == AVERROR(EAGAIN) || code == AVERROR_EOF) return;
    REQUIRE(code == 0);
    REQUIRE(frame->decode_error_flags == 0);
    REQUIRE(frame->width == video.width);
    REQUIRE(frame->height == video.height);
    video.color_range = frame->color_range;
    video.times.push_back(static_cast<double>(frame->best_effort_timestamp) *
                          av_q2d(stream.time_base));
    video.rgb.push_back(to_rgb(*frame));
    av_frame_unref(frame.get());
  }
}

void collect_keys(const AVDictionary* from, std::vector<std::string>& keys) {
  const AVDictionaryEntry* entry = nullptr;
  while ((entry = av_dict_get(from, "", entry, AV_DICT_IGNORE_SUFFIX)) != nullptr)
    keys.emplace_back(entry->key);
}

}  // namespace

DecodedVideo decode_video(const std::string& path) {
  AVFormatContext* opened = nullptr;
  REQUIRE(avformat_open_input(&opened, ("file:" + path).c_str(), nullptr, nullptr) == 0);
  const Demuxer input(opened);
  REQUIRE(avformat_find_stream_info(opened, nullptr) >= 0);
  REQUIRE(opened->nb_streams == 1);
  const AVStream& stream = *opened->streams[0];
  const AVCodec* decoder = avcodec_find_decoder(stream.codecpar->codec_id);
  REQUIRE(decoder != nullptr);
  const CodecContext codec(avcodec_alloc_context3(decoder));
  REQUIRE(avcodec_parameters_to_context(codec.get(), stream.codecpar) >= 0);
  codec->err_recognition = AV_EF_EXPLODE | AV_EF_CRCCHECK | AV_EF_BITSTREAM | AV_EF_BUFFER;
  codec->pkt_timebase = stream.time_base;
  REQUIRE(avcodec_open2(codec.get(), decoder, nullptr) == 0);

  DecodedVideo video;
  video.width = stream.codecpar->width;
  video.height = stream.codecpar->height;
  video.fps_num = stream.avg_frame_rate.num;
  video.fps_den = stream.avg_frame_rate.den;
  video.duration = stream.duration != AV_NOPTS_VALUE
                       ? static_cast<double>(stream.duration) * av_q2d(stream.time_base)
                       : static_cast<double>(opened->duration) / AV_TIME_BASE;
  video.pix_fmt = static_cast<AVPixelFormat>(stream.codecpar->format);
  video.color_space = stream.codecpar->color_space;
  video.color_primaries = stream.codecpar->color_primaries;
  video.color_transfer = stream.codecpar->color_trc;
  collect_keys(opened->metadata, video.metadata_keys);
  collect_keys(stream.metadata, video.metadata_keys);
  const Packet packet(av_packet_alloc());
  while (av_read_frame(opened, packet.get()) >= 0) {
    REQUIRE(avcodec_send_packet(codec.get(), packet.get()) == 0);
    av_packet_unref(packet.get());
    receive(*codec, stream, video);
  }
  REQUIRE(avcodec_send_packet(codec.get(), nullptr) == 0);
  receive(*codec, stream, video);
  return video;
}

}  // namespace t2v::media::test
