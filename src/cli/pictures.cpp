#include "cli/pictures.h"

#include <sys/stat.h>

#include <cerrno>
#include <cstring>
#include <utility>

#include "cli/problems.h"
#include "core/check.h"
#include "media/media.h"

namespace t2v::cli {

std::unique_ptr<FrameSource> open_frames(const std::string& path, const std::string& flag) {
  struct stat status {};
  T2V_REQUIRE(::stat(path.c_str(), &status) == 0, ErrorKind::kInput,
              "cannot read the picture: ", std::strerror(errno), " (", quoted(path), ", ", flag,
              "); try another path");
  T2V_REQUIRE(!S_ISDIR(status.st_mode), ErrorKind::kInput,
              "cannot read the picture: it is a folder (", quoted(path), ", ", flag,
              "); try a file inside it");
  try {
    return media::open_media().open_source(path);
  } catch (const Error& error) {
    throw Error(error.kind(), core::str(error.what(), " (", flag, ")"));
  }
}

std::shared_ptr<const Picture> Pictures::read(const std::string& path, const std::string& flag) {
  auto& known = known_[path];
  if (known) return known;
  const auto source = open_frames(path, flag);
  auto picture = std::make_shared<Picture>();
  picture->width = source->format().width;
  picture->height = source->format().height;
  T2V_REQUIRE(source->read(picture->rgb), ErrorKind::kInput, "no picture in ", quoted(path), " (",
              flag, "); is the file whole?");
  known = std::move(picture);
  return known;
}

void Pictures::load(Request& request) {
  if (!request.image_path.empty()) request.image = read(request.image_path, "--image");
  if (!request.last_image_path.empty())
    request.last_image = read(request.last_image_path, "--last-image");
}

}  // namespace t2v::cli
