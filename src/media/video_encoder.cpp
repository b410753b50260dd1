#include "media/video_encoder.h"

extern "C" {
#include <libavutil/pixdesc.h>
}

#include <algorithm>
#include <string>
#include <string_view>
#include <vector>

#include "core/check.h"

namespace t2v::media {
namespace {

// The number of threads shapes the bits of some encoders: it goes by the size alone, so that every
// machine writes the same file. Frames that x264 codes beside each other need rows between them:
// with four threads on 64 rows one file in ten had another size.
int num_threads(int height) {
  constexpr int kRows = 128;  // of a picture for each thread
  constexpr int kMaxThreads = 4;
  return std::clamp(height / kRows, 1, kMaxThreads);
}

// x265 prints on its own, past libav. What else it is told keeps it (as of 3.5) from memory that it
// never wrote: pictures one block wide have corners outside that are predicted from but not filled,
// and pictures one block high came out differently as well, so blocks are smaller there, or nothing
// is predicted from other pictures. Its lookahead (cutree) writes past rows of less than 64 pixels.
std::string x265_params(int width, int height, bool describe_itself) {
  constexpr int kSmallestBlock = 16;
  constexpr int kLargestBlock = 64;
  std::string params = describe_itself ? "log-level=none" : "log-level=none:info=0";
  const int smaller = std::min(width, height);
  if (smaller == kLargestBlock || smaller == kLargestBlock / 2)
    params += core::str(":ctu=", smaller / 2);
  if (smaller <= kSmallestBlock) params += ":keyint=1";
  if (width < kLargestBlock) params += ":cutree=0";
  return params;
}

void require(int code, const char* what, const AVCodecContext& codec) {
  if (code >= 0) return;
  throw Error(
      code == AVERROR(ENOMEM) ? ErrorKind::kOutOfMemory : ErrorKind::kOutput,
      core::str("cannot ", what, ": ", av_reason(code), " (encoder ", codec.codec->name, ")"));
}

template <typename T>
T require_memory(T handle) {
  T2V_REQUIRE(handle, ErrorKind::kOutOfMemory, "not enough memory for the video encoder");
  return handle;
}

}  // namespace

VideoEncoder::VideoEncoder(const EncoderPlan& plan, const Settings& settings)
    : codec_(require_memory(CodecContext(avcodec_alloc_context3(plan.codec)))),
      frame_(require_memory(Frame(av_frame_alloc()))),
      packet_(require_memory(Packet(av_packet_alloc()))),
      filtered_(require_memory(Packet(av_packet_alloc()))),
      converter_(plan.layout, settings.width, settings.height) {
  codec_->width = settings.width;
  codec_->height = settings.height;
  codec_->time_base = {settings.rate.den, settings.rate.num};
  codec_->framerate = {settings.rate.num, settings.rate.den};
  codec_->sample_aspect_ratio = {1, 1};
  codec_->thread_count = num_threads(settings.height);
  codec_->flags |= AV_CODEC_FLAG_BITEXACT;
  if (plan.container->flags & AVFMT_GLOBALHEADER) codec_->flags |= AV_CODEC_FLAG_GLOBAL_HEADER;
  set_colours(plan);

  Dictionary options;
  for (const auto& [key, value] : plan.options) options.set(key.c_str(), value);
  if (std::string_view(plan.codec->name) == "libx265") {
    options.set("x265-params",
                x265_params(settings.width, settings.height, settings.describe_itself));
  }
  forget_av_log();
  const int code = avcodec_open2(codec_.get(), plan.codec, options.address());
  T2V_REQUIRE(code >= 0 || code == AVERROR(EINVAL) || !is_nvenc(*plan.codec), ErrorKind::kDevice,
              "video encoder ", plan.codec->name, " cannot be used here for ", settings.width, "x",
              settings.height, ": ", av_reason(code), " (--codec); try --codec libx264");
  // Encoders say what they do not like; what fails without a word has no memory or no thread.
  const bool no_memory = code == AVERROR(ENOMEM) || (code == AVERROR_EXTERNAL && av_log_is_empty());
  T2V_REQUIRE(!no_memory, ErrorKind::kOutOfMemory, "not enough memory for the video encoder ",
              plan.codec->name, ": ", av_reason(code), " (", settings.width, "x", settings.height,
              "); try a larger memory limit, or fewer --threads");
  T2V_REQUIRE(code >= 0, ErrorKind::kUsage, "video encoder ", plan.codec->name, " refuses ",
              settings.width, "x", settings.height, " ", av_get_pix_fmt_name(plan.pix_fmt), " at ",
              settings.rate.num, "/", settings.rate.den, " fps: ", av_reason(code),
              " (--codec, --pix-fmt, --crf, --encoder-preset); try the defaults");
  const std::string left = options.first_key();
  T2V_REQUIRE(left.empty(), ErrorKind::kUsage, "video encoder ", plan.codec->name,
              " has no option '", left, "'");
  open_filter(settings.describe_itself);

  frame_->format = plan.pix_fmt;
  frame_->width = settings.width;
  frame_->height = settings.height;
  frame_->color_range = codec_->color_range;
  frame_->colorspace = codec_->colorspace;
  frame_->color_primaries = codec_->color_primaries;
  frame_->color_trc = codec_->color_trc;
  frame_->chroma_location = codec_->chroma_sample_location;
}

// SVT-AV1 waits forever when it is closed before its end, or without ever having had a frame.
VideoEncoder::~VideoEncoder() {
  if (flushed_ || std::string_view(codec_->codec->name) != "libsvtav1") return;
  try {
    const auto ignored = [](AVPacket&) {};
    if (next_pts_ == 0) {
      const std::vector<uint8_t> black(static_cast<size_t>(codec_->width) *
                                       static_cast<size_t>(codec_->height) * 3);
      encode(black.data(), ignored);
    }
    flush(ignored);
  } catch (const Error&) {  // nobody wants what it makes any more
  }
}

void VideoEncoder::set_colours(const EncoderPlan& plan) {
  codec_->pix_fmt = plan.pix_fmt;
  codec_->color_primaries = AVCOL_PRI_BT709;
  codec_->color_trc = AVCOL_TRC_BT709;
  codec_->colorspace = plan.layout.rgb ? AVCOL_SPC_RGB : AVCOL_SPC_BT709;
  codec_->color_range =
      plan.layout.rgb || plan.layout.full_range ? AVCOL_RANGE_JPEG : AVCOL_RANGE_MPEG;
  const bool halved = plan.layout.log2_chroma_width == 1;
  codec_->chroma_sample_location = halved ? AVCHROMA_LOC_LEFT : AVCHROMA_LOC_UNSPECIFIED;
}

// x264 and x265 write their version and every setting into the stream as user data (SEI).
void VideoEncoder::open_filter(bool describe_itself) {
  const char* list = "null";
  if (!describe_itself && codec_->codec_id == AV_CODEC_ID_H264)
    list = "filter_units=remove_types=6";
  if (!describe_itself && codec_->codec_id == AV_CODEC_ID_HEVC)
    list = "filter_units=remove_types=39|40";
  AVBSFContext* made = nullptr;
  require(av_bsf_list_parse_str(list, &made), "prepare the video stream", *codec_);
  filter_.reset(made);
  require(avcodec_parameters_from_context(made->par_in, codec_.get()), "prepare the video stream",
          *codec_);
  made->time_base_in = codec_->time_base;
  require(av_bsf_init(made), "prepare the video stream", *codec_);
}

void VideoEncoder::encode(const uint8_t* rgb, const PacketFn& take) {
  // Encoders keep references to what they were sent: each frame has memory of its own.
  Frame frame = require_memory(Frame(av_frame_alloc()));
  frame->format = frame_->format;
  frame->width = frame_->width;
  frame->height = frame_->height;
  require(av_frame_get_buffer(frame.get(), 0), "hold a frame", *codec_);
  require(av_frame_copy_props(frame.get(), frame_.get()), "hold a frame", *codec_);
  Planes planes;
  for (size_t i = 0; i < planes.first.size(); ++i) {
    planes.first[i] = frame->data[i];
    planes.stride_bytes[i] = frame->linesize[i];
  }
  converter_.convert(rgb, planes);
  frame->pts = next_pts_++;
  send(frame.get(), take);
}

void VideoEncoder::flush(const PacketFn& take) {
  flushed_ = true;
  send(nullptr, take);
  filter(nullptr, take);
}

void VideoEncoder::send(const AVFrame* frame, const PacketFn& take) {
  forget_av_log();
  require(avcodec_send_frame(codec_.get(), frame), "encode a frame", *codec_);
  while (true) {
    const int code = avcodec_receive_packet(codec_.get(), packet_.get());
    if (code == AVERROR(EAGAIN) || code == AVERROR_EOF) return;
    require(code, "encode a frame", *codec_);
    packet_->duration = 1;
    if (std::string_view(codec_->codec->name) == "libx265") packet_->dts = next_dts_++;
    filter(packet_.get(), take);
  }
}

void VideoEncoder::filter(AVPacket* packet, const PacketFn& take) {
  require(av_bsf_send_packet(filter_.get(), packet), "finish a packet", *codec_);
  while (true) {
    const int code = av_bsf_receive_packet(filter_.get(), filtered_.get());
    if (code == AVERROR(EAGAIN) || code == AVERROR_EOF) return;
    require(code, "finish a packet", *codec_);
    take(*filtered_);
    av_packet_unref(filtered_.get());
  }
}

}  // namespace t2v::media
