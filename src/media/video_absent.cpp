// A build without FFmpeg: says so for everything that needs a video codec.
#include "core/check.h"
#include "core/escape.h"
#include "media/video_backend.h"

namespace t2v::media::video {
namespace {

[[noreturn]] void refuse(const std::string& path) {
  throw Error(ErrorKind::kUsage,
              core::str("this build of t2v has no FFmpeg and cannot write '",
                        core::escape_control(path), "' (--output); try .png, .gif, .y4m or .rgb"));
}

[[noreturn]] void refuse_reading(const std::string& path) {
  throw Error(ErrorKind::kInput,
              core::str("this build of t2v has no FFmpeg and reads only GIF and PNG ('",
                        core::escape_control(path), "')"));
}

}  // namespace

void check_options(const SinkOptions& options) { refuse(options.path); }
void try_encoder(const SinkOptions& options, int, int, FrameRate) { refuse(options.path); }
std::unique_ptr<MediaSink> make_sink(const SinkOptions& options) { refuse(options.path); }
std::string read_recipe(const std::string& path) { refuse_reading(path); }
std::string describe(const std::string& path) { refuse_reading(path); }
std::unique_ptr<FrameSource> open_source(const std::string& path) {
  throw Error(ErrorKind::kInput,
              core::str("this build of t2v has no FFmpeg and cannot read '",
                        core::escape_control(path), "'; try a build with T2V_MEDIA=ON"));
}
std::vector<EncoderName> encoders() { return {}; }
std::string make_jpeg(const uint8_t*, int, int) {
  throw Error(ErrorKind::kUsage,
              "this build of t2v has no FFmpeg and cannot write JPEG (--preview); try .png");
}

}  // namespace t2v::media::video
