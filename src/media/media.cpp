// Chooses between the formats.
#include <filesystem>

#include "core/atomic_file.h"
#include "core/check.h"
#include "core/escape.h"
#include "media/async_sink.h"
#include "media/c2pa_signer.h"
#include "media/create_media.h"
#include "media/frame_rate.h"
#include "media/gif_writer.h"
#include "media/mark.h"
#include "media/output_format.h"
#include "media/png_file.h"
#include "media/png_folder.h"
#include "media/raw_writer.h"
#include "media/recipe_settings.h"
#include "media/signed_sink.h"
#include "media/still_files.h"
#include "media/video_backend.h"
#include "media/watermark_sink.h"

namespace t2v::media {
namespace {

constexpr int64_t kMaxSide = 65535;

// Flags that only a video codec understands.
void refuse_codec_flags(const SinkOptions& options, const char* format, bool allow_pix_fmt) {
  const char* flag = !options.codec.empty() && options.codec != format ? "--codec"
                     : options.crf                                     ? "--crf"
                     : !options.encoder_preset.empty()                 ? "--encoder-preset"
                     : !options.pix_fmt.empty() && !allow_pix_fmt      ? "--pix-fmt"
                                                                       : nullptr;
  T2V_REQUIRE(!flag, ErrorKind::kUsage, flag, " has no meaning for .", format, " output ('",
              core::escape_control(options.path), "'); try leaving it out");
}

void check_options(const SinkOptions& options, OutputFormat format) {
  switch (format) {
    case OutputFormat::kGif:
      return refuse_codec_flags(options, "gif", false);
    case OutputFormat::kPngFolder:
      return refuse_codec_flags(options, "png", false);
    case OutputFormat::kY4m:
      refuse_codec_flags(options, "y4m", true);
      return check_raw_options(options);
    case OutputFormat::kRgb:
      refuse_codec_flags(options, "rgb", true);
      return check_raw_options(options);
    default:
      return video::check_options(options);
  }
}

void check_target(const std::string& path, OutputFormat format) {
  if (format == OutputFormat::kStdout) return;
  core::require_writable(path, "--output");
  if (format == OutputFormat::kPngFolder) return check_png_target(path);
  std::error_code ignored;
  T2V_REQUIRE(!std::filesystem::is_directory(path, ignored), ErrorKind::kOutput,
              "cannot write output: '", core::escape_control(path),
              "' is a folder (--output); try a name inside it, such as '",
              core::escape_control(path), "/out.mp4'");
}

bool is_signed(const SinkOptions& options) {
  return !options.c2pa_cert.empty() || !options.c2pa_key.empty();
}

class MediaModule : public Media {
 public:
  void validate(const SinkOptions& options) const override {
    const OutputFormat format = output_format_of(options.path);
    check_options(options, format);
    check_mark(options.watermark);
    if (is_signed(options)) C2paSigning{options};
    check_target(options.path, format);
  }

  void validate(const SinkOptions& options, int64_t width, int64_t height,
                double fps) const override {
    T2V_REQUIRE(width > 0 && height > 0 && width <= kMaxSide && height <= kMaxSide,
                ErrorKind::kUsage, "size is out of range: ", width, "x", height, ", expected 1 to ",
                kMaxSide, " (--size)");
    const FrameRate rate = frame_rate_of(fps);
    validate(options);
    const OutputFormat format = output_format_of(options.path);
    if (format == OutputFormat::kGif) check_gif_limits(width, height, fps);
    if (!options.watermark.empty()) make_mark(options.watermark, width, height);
    if (is_video(format))
      video::try_encoder(options, static_cast<int>(width), static_cast<int>(height), rate);
  }

  std::unique_ptr<FrameSink> create_sink(const SinkOptions& options) const override {
    return std::make_unique<AsyncSink>(make_chain(options));
  }

  std::string read_recipe(const std::string& path) const override {
    if (const auto still = read_still_file(path)) return still->recipe_json;
    return video::read_recipe(path);
  }

  std::string describe(const std::string& path) const override {
    if (const auto still = read_still_file(path)) return still->json;
    return video::describe(path);
  }

  std::unique_ptr<FrameSource> open_source(const std::string& path) const override {
    return video::open_source(path);
  }

  std::vector<EncoderName> encoders() const override { return video::encoders(); }

  std::string encode_picture(const std::string& suffix, const uint8_t* rgb, int64_t width,
                             int64_t height) const override {
    T2V_ASSERT(width > 0 && height > 0 && width <= kMaxSide && height <= kMaxSide);
    if (suffix == ".png")
      return make_png(rgb, static_cast<int>(width), static_cast<int>(height), "");
    T2V_REQUIRE(suffix == ".jpg" || suffix == ".jpeg", ErrorKind::kUsage,
                "unknown picture format: '", core::escape_control(suffix),
                "' (--preview); try a name that ends in .png or .jpg");
    return video::make_jpeg(rgb, static_cast<int>(width), static_cast<int>(height));
  }

 private:
  // Frames pass the mark, then the writer; the recipe gets its output settings first of all.
  static std::unique_ptr<MediaSink> make_chain(const SinkOptions& options) {
    std::unique_ptr<MediaSink> sink = is_signed(options)
                                          ? std::make_unique<SignedSink>(options, make_writer)
                                          : make_writer(options);
    if (!options.watermark.empty())
      sink = std::make_unique<WatermarkSink>(std::move(sink), options.watermark);
    return std::make_unique<RecipeSink>(std::move(sink), options);
  }

  static std::unique_ptr<MediaSink> make_writer(const SinkOptions& options) {
    const OutputFormat format = output_format_of(options.path);
    switch (format) {
      case OutputFormat::kGif:
        return std::make_unique<GifWriter>(options.path, options.metadata);
      case OutputFormat::kPngFolder:
        return std::make_unique<PngFolder>(options.path, options.metadata);
      case OutputFormat::kY4m:
      case OutputFormat::kRgb:
        return std::make_unique<RawWriter>(options);
      default:
        return video::make_sink(options);
    }
  }
};

}  // namespace

std::unique_ptr<Media> create_media() { return std::make_unique<MediaModule>(); }

}  // namespace t2v::media
