// Reading the PNG of --watermark, by libpng where this build has it.
#include <algorithm>
#include <cerrno>
#include <cstring>

#include "core/check.h"
#include "core/escape.h"
#include "media/mark.h"

#ifdef T2V_PNG
#include <png.h>
#endif

namespace t2v::media {

#ifdef T2V_PNG
namespace {

constexpr unsigned kMaxSide = 8192;  // px

[[noreturn]] void refuse(const std::string& path, const std::string& why) {
  throw Error(ErrorKind::kInput,
              core::str("cannot read watermark: ", core::escape_control(why), " ('",
                        core::escape_control(path),
                        "', --watermark); try a PNG, or a text that does not end in .png"));
}

}  // namespace

Mark read_mark_picture(const std::string& path) {
  png_image image{};
  image.version = PNG_IMAGE_VERSION;
  errno = 0;
  if (!png_image_begin_read_from_file(&image, path.c_str()))
    refuse(path, errno != 0 ? std::strerror(errno) : image.message);
  if (image.width > kMaxSide || image.height > kMaxSide) {
    png_image_free(&image);
    refuse(path, core::str("it has ", image.width, "x", image.height, " pixels, at most ", kMaxSide,
                           " a side"));
  }
  image.format = PNG_FORMAT_RGBA;
  Mark mark{.width = static_cast<int>(image.width),
            .height = static_cast<int>(image.height),
            .x = 0,
            .y = 0,
            .rgba = std::vector<uint8_t>(PNG_IMAGE_SIZE(image))};
  if (!png_image_finish_read(&image, nullptr, mark.rgba.data(), 0, nullptr))
    refuse(path, image.message);
  const auto& rgba = mark.rgba;
  bool visible = false;
  for (size_t at = 3; at < rgba.size(); at += 4) visible = visible || rgba[at] != 0;
  if (!visible) refuse(path, "nothing of it can be seen: every pixel is transparent");
  return mark;
}
#else
Mark read_mark_picture(const std::string& path) {
  throw Error(ErrorKind::kUsage,
              core::str("cannot read watermark: this t2v was built without libpng ('",
                        core::escape_control(path), "', --watermark); try a text"));
}
#endif

}  // namespace t2v::media
