#include "media/still_files.h"

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "core/check.h"
#include "core/escape.h"
#include "media/gif_blocks.h"
#include "media/json_object.h"
#include "media/png_file.h"
#include "media/png_folder.h"
#include "media/webp_file.h"

namespace t2v::media {
namespace fs = std::filesystem;
namespace {

constexpr size_t kSignatureBytes = 12;
constexpr uintmax_t kMaxFileBytes = uintmax_t{4} << 30;

std::string read_bytes(const std::string& path, size_t limit) {
  errno = 0;
  std::ifstream in(path, std::ios::binary);
  std::string bytes(limit, '\0');
  in.read(bytes.data(), static_cast<std::streamsize>(limit));
  T2V_REQUIRE(in.is_open() && !in.bad(), ErrorKind::kInput, "cannot read '",
              core::escape_control(path), "': ", std::strerror(errno != 0 ? errno : EIO));
  bytes.resize(static_cast<size_t>(in.gcount()));
  return bytes;
}

std::string read_whole(const std::string& path) {
  std::error_code error;
  const uintmax_t size = fs::file_size(path, error);
  T2V_REQUIRE(!error && size <= kMaxFileBytes, ErrorKind::kInput, "cannot read '",
              core::escape_control(path), "': ", error ? error.message() : "the file is too large");
  return read_bytes(path, static_cast<size_t>(size));
}

StillSummary summary_of_png(const PngSummary& png, int64_t frames) {
  JsonObject json;
  json.add_text("container", "png");
  json.add_text("codec", "png");
  json.add_integer("width", png.width);
  json.add_integer("height", png.height);
  json.add_integer("frames", frames);
  json.add_text("fps", "");
  json.add_text("duration", "");
  json.add_text("pix_fmt", "rgb24");
  for (const char* key : {"color_range", "color_space", "color_primaries", "color_transfer"})
    json.add_text(key, "");
  return {png.recipe_json, json.text()};
}

StillSummary summary_of_gif(const GifSummary& gif) {
  const double duration = static_cast<double>(gif.duration_cs) / 100;
  JsonObject json;
  json.add_text("container", "gif");
  json.add_text("codec", "gif");
  json.add_integer("width", gif.width);
  json.add_integer("height", gif.height);
  json.add_integer("frames", gif.frames);
  json.add_number("fps", duration > 0 ? static_cast<double>(gif.frames) / duration : 0);
  json.add_number("duration", duration);
  json.add_text("pix_fmt", "pal8");
  for (const char* key : {"color_range", "color_space", "color_primaries", "color_transfer"})
    json.add_text(key, "");
  return {gif.comment, json.text()};
}

StillSummary summary_of_webp(const WebpSummary& webp) {
  const double duration = static_cast<double>(webp.duration_ms) / 1000;
  JsonObject json;
  json.add_text("container", "webp");
  json.add_text("codec", "webp");
  json.add_integer("width", webp.width);
  json.add_integer("height", webp.height);
  json.add_integer("frames", webp.pictures);
  json.add_number("fps", duration > 0 ? static_cast<double>(webp.pictures) / duration : 0);
  json.add_number("duration", duration);
  for (const char* key :
       {"pix_fmt", "color_range", "color_space", "color_primaries", "color_transfer"})
    json.add_text(key, "");
  return {webp.recipe_json, json.text()};
}

StillSummary read_folder(const std::string& path) {
  int64_t frames = 0;
  std::error_code ignored;
  while (fs::is_regular_file(fs::path(path) / png_frame_name(frames), ignored)) ++frames;
  T2V_REQUIRE(frames > 0, ErrorKind::kInput, "not a folder of frames: '",
              core::escape_control(path), "' has no file ", png_frame_name(0));
  const std::string first = (fs::path(path) / png_frame_name(0)).string();
  return summary_of_png(read_png(read_whole(first), first), frames);
}

}  // namespace

std::optional<StillSummary> read_still_file(const std::string& path) {
  std::error_code error;
  const fs::file_status status = fs::status(path, error);
  T2V_REQUIRE(fs::exists(status), ErrorKind::kInput, "cannot read '", core::escape_control(path),
              "': ", error ? error.message() : "No such file or directory");
  if (fs::is_directory(status)) return read_folder(path);
  T2V_REQUIRE(fs::is_regular_file(status), ErrorKind::kInput, "cannot read '",
              core::escape_control(path), "': it is not a regular file");
  const std::string start = read_bytes(path, kSignatureBytes);
  if (is_png(start)) return summary_of_png(read_png(read_whole(path), path), 1);
  if (is_webp(start)) return summary_of_webp(read_webp(read_whole(path), path));
  if (is_gif(start)) return summary_of_gif(read_gif(read_whole(path), path));
  return std::nullopt;
}

}  // namespace t2v::media
