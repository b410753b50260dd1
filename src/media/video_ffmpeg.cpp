// Everything that goes through libavcodec and libavformat, as video_backend.h promises it.
extern "C" {
#include <libavutil/pixdesc.h>
}

#include <algorithm>
#include <array>
#include <cmath>
#include <string_view>

#include "core/check.h"
#include "core/escape.h"
#include "media/json_object.h"
#include "media/output_format.h"
#include "media/video_backend.h"
#include "media/video_encoder.h"
#include "media/video_reader.h"
#include "media/video_writer.h"
#include "media/webp_writer.h"

namespace t2v::media::video {
namespace {

// Local files of the containers that t2v writes; nothing that could open a further file or address.
constexpr const char* kFormats = "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,yuv4mpegpipe,avi";

Demuxer open_input(const std::string& path) {
  capture_av_log();
  forget_av_log();
  Dictionary options;
  options.set("protocol_whitelist", "file");
  options.set("format_whitelist", kFormats);
  AVFormatContext* opened = nullptr;
  const int code =
      avformat_open_input(&opened, ("file:" + path).c_str(), nullptr, options.address());
  T2V_REQUIRE(code >= 0, ErrorKind::kInput, "not a video: '", core::escape_control(path),
              "': ", av_reason(code));
  return Demuxer(opened);
}

const AVStream& video_stream(AVFormatContext& input, const std::string& path) {
  const int index = av_find_best_stream(&input, AVMEDIA_TYPE_VIDEO, -1, -1, nullptr, 0);
  T2V_REQUIRE(index >= 0, ErrorKind::kInput, "not a video: '", core::escape_control(path),
              "' has no picture track");
  return *input.streams[index];
}

int64_t count_packets(AVFormatContext& input, int stream) {
  const Packet packet(av_packet_alloc());
  int64_t count = 0;
  while (packet && av_read_frame(&input, packet.get()) >= 0) {
    if (packet->stream_index == stream) ++count;
    av_packet_unref(packet.get());
  }
  return count;
}

std::string_view or_empty(const char* text) {
  const std::string_view view = text ? text : "";
  return view == "unknown" || view == "unspecified" ? std::string_view() : view;
}

// The first name of "mov,mp4,..." says little: the suffix decides between relatives.
std::string container_of(const AVFormatContext& input, const std::string& path) {
  const std::string names = input.iformat->name;
  const size_t dot = path.rfind('.');
  std::string suffix = dot == std::string::npos ? "" : path.substr(dot + 1);
  if (!suffix.empty() && ("," + names + ",").find("," + suffix + ",") != std::string::npos)
    return suffix;
  if (names.starts_with("mov,")) return "mp4";
  return names.substr(0, names.find(','));
}

int preference(std::string_view name) {
  constexpr std::array<std::string_view, 6> kFirst{"libx264",    "libx265",   "libvpx-vp9",
                                                   "libaom-av1", "libsvtav1", "ffv1"};
  return static_cast<int>(std::find(kFirst.begin(), kFirst.end(), name) - kFirst.begin());
}

}  // namespace

void check_options(const SinkOptions& options) {
  capture_av_log();
  plan_encoder(options, false, false);
}

void try_encoder(const SinkOptions& options, int width, int height, FrameRate rate) {
  capture_av_log();
  const EncoderPlan plan = plan_encoder(options, width % 2 != 0, height % 2 != 0);
  const VideoEncoder opened(
      plan, {.width = width, .height = height, .rate = rate, .describe_itself = options.metadata});
}

std::unique_ptr<MediaSink> make_sink(const SinkOptions& options) {
  capture_av_log();
  if (output_format_of(options.path) == OutputFormat::kWebp)
    return std::make_unique<WebpWriter>(options);
  return std::make_unique<VideoWriter>(options);
}

std::string read_recipe(const std::string& path) {
  const Demuxer input = open_input(path);
  const AVDictionaryEntry* entry = av_dict_get(input->metadata, "t2v", nullptr, 0);
  return entry ? entry->value : "";
}

std::string describe(const std::string& path) {
  const Demuxer input = open_input(path);
  forget_av_log();
  const int code = avformat_find_stream_info(input.get(), nullptr);
  T2V_REQUIRE(code >= 0, ErrorKind::kInput, "broken video: '", core::escape_control(path),
              "': ", av_reason(code));
  const AVStream& stream = video_stream(*input, path);
  const AVCodecParameters& codec = *stream.codecpar;
  const AVRational rate =
      stream.avg_frame_rate.num > 0 ? stream.avg_frame_rate : stream.r_frame_rate;
  const double fps = rate.den > 0 ? av_q2d(rate) : 0;
  const int64_t frames =
      stream.nb_frames > 0 ? stream.nb_frames : count_packets(*input, stream.index);
  double duration = fps > 0 ? static_cast<double>(frames) / fps : 0;
  if (stream.duration > 0)
    duration = static_cast<double>(stream.duration) * av_q2d(stream.time_base);
  JsonObject json;
  json.add_text("container", container_of(*input, path));
  json.add_text("codec", avcodec_get_name(codec.codec_id));
  json.add_integer("width", codec.width);
  json.add_integer("height", codec.height);
  json.add_integer("frames", frames);
  json.add_number("fps", fps);
  json.add_number("duration", duration);
  json.add_text("pix_fmt", or_empty(av_get_pix_fmt_name(static_cast<AVPixelFormat>(codec.format))));
  json.add_text("color_range", or_empty(av_color_range_name(codec.color_range)));
  json.add_text("color_space", or_empty(av_color_space_name(codec.color_space)));
  json.add_text("color_primaries", or_empty(av_color_primaries_name(codec.color_primaries)));
  json.add_text("color_transfer", or_empty(av_color_transfer_name(codec.color_trc)));
  return json.text();
}

std::unique_ptr<FrameSource> open_source(const std::string& path) {
  return std::make_unique<VideoReader>(path);
}

std::vector<EncoderName> encoders() {
  std::vector<EncoderName> found;
  void* state = nullptr;
  while (const AVCodec* codec = av_codec_iterate(&state)) {
    if (!av_codec_is_encoder(codec) || codec->type != AVMEDIA_TYPE_VIDEO) continue;
    found.push_back({codec->name, codec->long_name ? codec->long_name : ""});
  }
  std::stable_sort(found.begin(), found.end(), [](const EncoderName& a, const EncoderName& b) {
    return preference(a.name) < preference(b.name);
  });
  return found;
}

}  // namespace t2v::media::video
