#include "cli/preview_file.h"

#include <filesystem>

#include "cli/video_output.h"
#include "media/media.h"

namespace t2v::cli {
namespace {

std::string suffix_of(const std::string& path) {
  return std::filesystem::path(path).extension().string();
}

}  // namespace

void require_preview_path(const std::string& path) {
  if (path.empty()) return;
  require_file_path(path, "--preview");
  constexpr uint8_t kBlack[3] = {0, 0, 0};
  static_cast<void>(media::open_media().encode_picture(suffix_of(path), kBlack, 1, 1));
}

void PreviewFile::on_preview(const PreviewPicture& picture) {
  try {
    write_file(path_, media::open_media().encode_picture(suffix_of(path_), picture.rgb,
                                                         picture.width, picture.height));
    problem_.clear();
  } catch (const Error& error) {
    problem_ = error.what();
  }
}

}  // namespace t2v::cli
