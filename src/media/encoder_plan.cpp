#include "media/encoder_plan.h"

extern "C" {
#include <libavutil/cpu.h>
#include <libavutil/opt.h>
#include <libavutil/pixdesc.h>
}

#include <algorithm>
#include <array>
#include <string_view>

#include "core/check.h"
#include "core/escape.h"
#include "media/output_format.h"

namespace t2v::media {
namespace {

using core::escape_control;
using core::str;

struct Quality {
  std::string_view codec;
  int fallback;  // visually close to libx264 at 18
  int max;
};

constexpr std::array<Quality, 7> kQualities{{{"libx264", 18, 51},
                                             {"libx264rgb", 18, 51},
                                             {"libx265", 20, 51},
                                             {"libvpx-vp9", 20, 63},
                                             {"libvpx", 10, 63},
                                             {"libaom-av1", 20, 63},
                                             {"libsvtav1", 22, 63}}};

constexpr int kNvencQuality = 19;  // close to libx264 at 18
constexpr int kNvencMax = 51;
constexpr int kWebpQuality = 10;  // of --crf: libwebp's 91
constexpr int kWebpMax = 100;
constexpr int kMaxCpuUsed = 8;
// libaom's own is 1, at which 81 frames of 832x480 take an hour; 6 is close to x264's default.
constexpr int kAomCpuUsed = 6;

constexpr std::array<std::string_view, 10> kPresets{"ultrafast", "superfast", "veryfast", "faster",
                                                    "fast",      "medium",    "slow",     "slower",
                                                    "veryslow",  "placebo"};

const char* container_name(OutputFormat format) {
  switch (format) {
    case OutputFormat::kMov:
      return "mov";
    case OutputFormat::kMkv:
      return "matroska";
    case OutputFormat::kWebm:
      return "webm";
    default:
      return "mp4";
  }
}

// Names an encoder by its own name or, as ffmpeg does, by its codec's ("h264").
const AVCodec* find_encoder(const std::string& name) {
  if (const AVCodec* codec = avcodec_find_encoder_by_name(name.c_str())) return codec;
  const AVCodecDescriptor* descriptor = avcodec_descriptor_get_by_name(name.c_str());
  return descriptor ? avcodec_find_encoder(descriptor->id) : nullptr;
}

const AVCodec* choose_codec(const SinkOptions& options, OutputFormat format) {
  const std::string name = !options.codec.empty()          ? options.codec
                           : format == OutputFormat::kWebm ? "libvpx-vp9"
                                                           : "libx264";
  const AVCodec* codec = find_encoder(name);
  T2V_REQUIRE(codec, ErrorKind::kUsage, "unknown video encoder: '", escape_control(name),
              "' is not in this libavcodec (--codec); try libx264");
  T2V_REQUIRE(codec->type == AVMEDIA_TYPE_VIDEO, ErrorKind::kUsage, "not a video encoder: '", name,
              "' (--codec); try libx264");
  return codec;
}

bool is_codable(const AVPixFmtDescriptor& d) {
  constexpr uint64_t kRefused = AV_PIX_FMT_FLAG_BE | AV_PIX_FMT_FLAG_PAL |
                                AV_PIX_FMT_FLAG_BITSTREAM | AV_PIX_FMT_FLAG_HWACCEL |
                                AV_PIX_FMT_FLAG_BAYER | AV_PIX_FMT_FLAG_FLOAT;
  if ((d.flags & kRefused) != 0 || d.nb_components < 3 || d.log2_chroma_w > 1 ||
      d.log2_chroma_h > 1)
    return false;
  for (int i = 0; i < d.nb_components; ++i) {
    if (d.comp[i].depth != d.comp[0].depth || d.comp[i].depth < 8 || d.comp[i].depth > 12)
      return false;
    if (d.comp[0].depth == 8 && d.comp[i].shift != 0) return false;
  }
  return std::string_view(d.name).substr(0, 3) != "xyz";
}

PixelLayout layout_of(const AVPixFmtDescriptor& d) {
  PixelLayout layout;
  layout.rgb = (d.flags & AV_PIX_FMT_FLAG_RGB) != 0;
  layout.full_range = std::string_view(d.name).starts_with("yuvj");
  layout.alpha = (d.flags & AV_PIX_FMT_FLAG_ALPHA) != 0;
  layout.depth = d.comp[0].depth;
  layout.log2_chroma_width = d.log2_chroma_w;
  layout.log2_chroma_height = d.log2_chroma_h;
  for (size_t i = 0; i < d.nb_components; ++i) {
    const AVComponentDescriptor& from = d.comp[i];
    layout.components[i] = {from.plane, from.step, from.offset, from.shift};
  }
  return layout;
}

bool supports(const AVCodec& codec, AVPixelFormat wanted) {
  if (!codec.pix_fmts) return true;
  const AVPixelFormat* end = codec.pix_fmts;
  while (*end != AV_PIX_FMT_NONE) ++end;
  return std::find(codec.pix_fmts, end, wanted) != end;
}

std::string usable_formats(const AVCodec& codec) {
  std::string names;
  for (const AVPixelFormat* p = codec.pix_fmts; p && *p != AV_PIX_FMT_NONE; ++p) {
    const AVPixFmtDescriptor* d = av_pix_fmt_desc_get(*p);
    if (d && is_codable(*d)) names += str(names.empty() ? "" : " ", d->name);
  }
  return names;
}

// These code any size with halved chroma; H.264 and H.265 can only crop whole chroma samples.
bool takes_odd_sizes(const AVCodec& codec) {
  constexpr std::array<AVCodecID, 6> kAny{AV_CODEC_ID_VP8,      AV_CODEC_ID_VP9,
                                          AV_CODEC_ID_AV1,      AV_CODEC_ID_FFV1,
                                          AV_CODEC_ID_RAWVIDEO, AV_CODEC_ID_MPEG4};
  return std::find(kAny.begin(), kAny.end(), codec.id) != kAny.end();
}

AVPixelFormat choose_format(const AVCodec& codec, const std::string& asked, bool odd_width,
                            bool odd_height) {
  if (!asked.empty()) {
    const AVPixelFormat format = av_get_pix_fmt(asked.c_str());
    const AVPixFmtDescriptor* d = av_pix_fmt_desc_get(format);
    T2V_REQUIRE(d && is_codable(*d) && supports(codec, format), ErrorKind::kUsage, "pixel format '",
                escape_control(asked), "' is ", d ? "not possible with " : "unknown to ",
                codec.name, " (--pix-fmt); try one of: ", usable_formats(codec));
    const bool halved = (odd_width && d->log2_chroma_w > 0) || (odd_height && d->log2_chroma_h > 0);
    T2V_REQUIRE(!halved || takes_odd_sizes(codec), ErrorKind::kUsage, codec.name,
                " cannot code an odd size as ", asked,
                " (--pix-fmt); try an even width and height, or --pix-fmt yuv444p");
    return format;
  }
  const bool odd = odd_width || odd_height;
  const bool whole = odd && !takes_odd_sizes(codec);
  for (const AVPixelFormat format :
       {whole ? AV_PIX_FMT_YUV444P : AV_PIX_FMT_YUV420P, AV_PIX_FMT_YUV444P}) {
    if (supports(codec, format)) return format;
  }
  for (const AVPixelFormat* p = codec.pix_fmts; *p != AV_PIX_FMT_NONE; ++p) {
    const AVPixFmtDescriptor* d = av_pix_fmt_desc_get(*p);
    if (!d || !is_codable(*d)) continue;
    if (!whole || (d->log2_chroma_w == 0 && d->log2_chroma_h == 0)) return *p;
  }
  throw Error(ErrorKind::kUsage,
              str("video encoder ", codec.name,
                  odd ? " cannot code an odd size" : " takes no pixel format that t2v can make",
                  " (--codec); try libx264"));
}

// Encoders worth naming that fit into the container: "libx264 libx265".
std::string encoders_that_fit(const AVOutputFormat& container) {
  std::string names;
  for (const char* name : {"libx264", "libx265", "libsvtav1", "libaom-av1", "libvpx-vp9", "ffv1"}) {
    const AVCodec* codec = avcodec_find_encoder_by_name(name);
    if (codec && avformat_query_codec(&container, codec->id, FF_COMPLIANCE_NORMAL) == 1)
      names += str(names.empty() ? "" : " ", name);
  }
  return names;
}

bool has_option(const AVCodec& codec, const char* name) {
  return codec.priv_class &&
         av_opt_find(const_cast<void*>(static_cast<const void*>(&codec.priv_class)), name, nullptr,
                     0, AV_OPT_SEARCH_FAKE_OBJ) != nullptr;
}

// NVENC's constant quality is a target of its variable rate without a bound on the rate; no B
// frames, whose number would depend on the GPU's generation.
void add_nvenc(const SinkOptions& options, EncoderPlan& plan) {
  const int quality = options.crf.value_or(kNvencQuality);
  T2V_REQUIRE(quality >= 1 && quality <= kNvencMax, ErrorKind::kUsage,
              "quality is out of range: ", quality, ", ", plan.codec->name, " takes 1 (best) to ",
              kNvencMax, " (--crf); try ", kNvencQuality);
  const std::string& preset = options.encoder_preset;
  const bool known = preset.size() == 2 && preset[0] == 'p' && preset[1] >= '1' && preset[1] <= '7';
  T2V_REQUIRE(preset.empty() || known, ErrorKind::kUsage, "unknown preset '",
              escape_control(preset), "' of ", plan.codec->name,
              " (--encoder-preset); try p1 (fastest) to p7");
  plan.options = {{"preset", preset.empty() ? "p5" : preset},
                  {"tune", "hq"},
                  {"rc", "vbr"},
                  {"cq", str(quality)},
                  {"b", "0"},
                  {"bf", "0"}};
}

void add_quality(const SinkOptions& options, EncoderPlan& plan) {
  const AVCodec& codec = *plan.codec;
  const auto found = std::find_if(kQualities.begin(), kQualities.end(),
                                  [&](const Quality& q) { return q.codec == codec.name; });
  const int max = found == kQualities.end() ? 63 : found->max;
  if (options.crf) {
    T2V_REQUIRE(has_option(codec, "crf"), ErrorKind::kUsage, "video encoder ", codec.name,
                " has no constant quality (--crf); try libx264, or leave --crf out");
    T2V_REQUIRE(*options.crf >= 0 && *options.crf <= max, ErrorKind::kUsage,
                "quality is out of range: ", *options.crf, ", ", codec.name, " takes 0 (best) to ",
                max, " (--crf); try 18");
    plan.options.emplace_back("crf", str(*options.crf));
  } else if (found != kQualities.end()) {
    plan.options.emplace_back("crf", str(found->fallback));
  }
}

// Finer chroma by 6 QP steps: at quality 18 flat patches of pure colours then come back within
// 2/255 (1 to 3 in 1000 pixels beside hard edges: 3). Costs 5 % of the file with flat colours, up
// to half of it with gradients.
constexpr const char* kFineChroma = "chroma-qp-offset=-6";

// x264's AVX-512 code that follows blocks through time (mbtree, as of r3095) takes the blocks of a
// row by eight: what lies in memory beyond the last one, left by whatever the process did before,
// moves the quality of others. Its AVX2 code does not, and takes 3 to 9 % longer to encode.
constexpr const char* kNoAvx512 = "asm=AVX2";

// What x264 is told past libavcodec's own options.
void add_x264_params(EncoderPlan& plan) {
  if (!std::string_view(plan.codec->name).starts_with("libx264")) return;
  std::string params = plan.layout.rgb ? "" : kFineChroma;
  if ((av_get_cpu_flags() & AV_CPU_FLAG_AVX512) != 0)
    params += str(params.empty() ? "" : ":", kNoAvx512);
  if (!params.empty()) plan.options.emplace_back("x264-params", params);
}

// libaom and libvpx call it "cpu-used": 0 is best, 8 fastest.
void add_cpu_used(const SinkOptions& options, EncoderPlan& plan) {
  const std::string& asked = options.encoder_preset;
  const std::string_view codec = plan.codec->name;
  if (asked.empty()) {
    if (codec == "libaom-av1") plan.options.emplace_back("cpu-used", str(kAomCpuUsed));
    return;
  }
  T2V_REQUIRE(asked.size() == 1 && asked[0] >= '0' && asked[0] <= '0' + kMaxCpuUsed,
              ErrorKind::kUsage, "unknown preset '", escape_control(asked), "' of ", codec,
              " (--encoder-preset); try 0 (best) to ", kMaxCpuUsed, " (fastest)");
  plan.options.emplace_back("cpu-used", asked);
}

void add_preset(const SinkOptions& options, EncoderPlan& plan) {
  if (!has_option(*plan.codec, "preset") && has_option(*plan.codec, "cpu-used"))
    return add_cpu_used(options, plan);
  if (options.encoder_preset.empty()) return;
  T2V_REQUIRE(has_option(*plan.codec, "preset"), ErrorKind::kUsage, "video encoder ",
              plan.codec->name, " has no presets (--encoder-preset); try leaving it out");
  // x264 prints a wrong name itself, so it must not see one.
  const std::string_view codec = plan.codec->name;
  if (codec.starts_with("libx26")) {
    const bool known =
        std::find(kPresets.begin(), kPresets.end(), options.encoder_preset) != kPresets.end();
    T2V_REQUIRE(known, ErrorKind::kUsage, "unknown preset '",
                escape_control(options.encoder_preset), "' of ", codec,
                " (--encoder-preset); try ultrafast, superfast, veryfast, faster, fast, medium, "
                "slow, slower, "
                "veryslow or placebo");
  }
  plan.options.emplace_back("preset", options.encoder_preset);
}

// --crf 0 is lossless, else libwebp's quality of 100 is --crf 1.
EncoderPlan plan_webp(const SinkOptions& options) {
  EncoderPlan plan;
  const bool other =
      !options.codec.empty() && options.codec != "libwebp_anim" && options.codec != "webp";
  T2V_REQUIRE(!other, ErrorKind::kUsage, "video encoder ", escape_control(options.codec),
              " does not fit into webp ('", escape_control(options.path),
              "', --codec); try leaving it out");
  T2V_REQUIRE(options.pix_fmt.empty() && options.encoder_preset.empty(), ErrorKind::kUsage,
              options.pix_fmt.empty() ? "--encoder-preset" : "--pix-fmt",
              " has no meaning for .webp output ('", escape_control(options.path),
              "'); try leaving it out");
  plan.codec = avcodec_find_encoder_by_name("libwebp_anim");
  plan.container = av_guess_format("webp", nullptr, nullptr);
  T2V_REQUIRE(plan.codec && plan.container, ErrorKind::kUsage,
              "this libavcodec cannot write animated WebP ('", escape_control(options.path),
              "'); try .gif or .mp4");
  const int quality = options.crf.value_or(kWebpQuality);
  T2V_REQUIRE(quality >= 0 && quality <= kWebpMax, ErrorKind::kUsage,
              "quality is out of range: ", quality, ", .webp takes 0 (lossless) to ", kWebpMax,
              " (--crf); try ", kWebpQuality);
  plan.pix_fmt = AV_PIX_FMT_BGRA;  // libwebp's own matrix, not BT.709, makes YUV of it
  plan.layout = layout_of(*av_pix_fmt_desc_get(plan.pix_fmt));
  if (quality == 0) plan.options = {{"lossless", "1"}};
  if (quality > 0) plan.options = {{"quality", str(kWebpMax + 1 - quality)}};
  return plan;
}

}  // namespace

bool is_nvenc(const AVCodec& codec) noexcept {
  return std::string_view(codec.name).ends_with("_nvenc");
}

EncoderPlan plan_encoder(const SinkOptions& options, bool odd_width, bool odd_height) {
  const OutputFormat format = output_format_of(options.path);
  if (format == OutputFormat::kWebp) return plan_webp(options);
  EncoderPlan plan;
  plan.codec = choose_codec(options, format);
  plan.container = av_guess_format(container_name(format), nullptr, nullptr);
  T2V_REQUIRE(plan.container, ErrorKind::kUsage, "this libavformat cannot write ",
              container_name(format), " ('", escape_control(options.path), "'); try .mp4");
  T2V_REQUIRE(avformat_query_codec(plan.container, plan.codec->id, FF_COMPLIANCE_NORMAL) == 1,
              ErrorKind::kUsage, "video encoder ", plan.codec->name, " does not fit into ",
              plan.container->name, " ('", escape_control(options.path),
              "', --codec); try one of: ", encoders_that_fit(*plan.container), "; or .mkv");
  plan.pix_fmt = choose_format(*plan.codec, options.pix_fmt, odd_width, odd_height);
  const AVPixFmtDescriptor* descriptor = av_pix_fmt_desc_get(plan.pix_fmt);
  T2V_REQUIRE(descriptor && is_codable(*descriptor), ErrorKind::kUsage, "video encoder ",
              plan.codec->name, " takes no pixel format that t2v can make (--codec); try libx264");
  plan.layout = layout_of(*descriptor);
  if (is_nvenc(*plan.codec)) {
    add_nvenc(options, plan);
    return plan;
  }
  add_quality(options, plan);
  add_x264_params(plan);
  add_preset(options, plan);
  return plan;
}

}  // namespace t2v::media
