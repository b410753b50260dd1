#include "cli/video_output.h"

#include <filesystem>
#include <system_error>

#include "cli/streams.h"
#include "core/atomic_file.h"
#include "core/check.h"

namespace t2v::cli {
namespace fs = std::filesystem;

media::SinkOptions read_sink_options(const Flags& flags) {
  media::SinkOptions options;
  options.codec = flags.text("codec").value_or("");
  if (const auto crf = flags.integer("crf", 0, 255)) options.crf = static_cast<int>(*crf);
  options.pix_fmt = flags.text("pix-fmt").value_or("");
  options.encoder_preset = flags.text("encoder-preset").value_or("");
  options.metadata = !flags.has("no-metadata");
  options.watermark = flags.text("watermark").value_or("");
  options.c2pa_cert = flags.path("c2pa-cert");
  options.c2pa_key = flags.path("c2pa-key");
  options.c2pa_library = c2pa_library();
  if (options.c2pa_cert.empty() != options.c2pa_key.empty()) {
    flags.problems().add(
        "--c2pa-cert: certificate and key are needed together (command line); try both "
        "--c2pa-cert FILE and --c2pa-key FILE");
  }
  for (const char* name : {"codec", "pix-fmt", "encoder-preset"}) {
    if (const Setting* setting = flags.find(name); setting && setting->value.empty()) {
      flags.refuse(*setting, "is empty, expected a name of libavcodec");
    }
  }
  if (const Setting* setting = flags.find("watermark"); setting && setting->value.empty())
    flags.refuse(*setting, "is empty, expected a text or a PNG file");
  return options;
}

media::SinkOptions with_path(media::SinkOptions options, const std::string& path) {
  options.path = path;
  return options;
}

void require_video_target(const media::SinkOptions& options) {
  T2V_REQUIRE(
      options.path != "-" || !stdout_is_terminal(), ErrorKind::kUsage,
      "--output: a video is not for a terminal (standard output); try -o FILE.mp4 or a pipe");
  const bool frames = fs::path(options.path).extension() == ".png";
  if (options.path != "-" && !frames) require_file_path(options.path, "--output");
  media::open_media().validate(options);
}

void require_no_folder(const std::string& path, const std::string& flag) {
  std::error_code ignored;
  T2V_REQUIRE(!fs::is_directory(path, ignored), ErrorKind::kOutput,
              "cannot write output: it is a folder (", quoted(path), ", ", flag, ")");
}

void require_file_path(const std::string& path, const std::string& flag) {
  if (path.empty()) return;
  require_no_folder(path, flag);
  core::require_writable(path, flag);
}

void write_file(const std::string& path, const std::string& text) {
  core::AtomicFile file(path);
  file.write(text.data(), text.size());
  file.commit();
}

}  // namespace t2v::cli
