// --preview: a picture file that shows a video while it is made.
#pragma once

#include <string>

#include "t2v/batch.h"

namespace t2v::cli {

// Throws Error{kUsage, kOutput} unless a picture of that name can be written; "" is fine.
void require_preview_path(const std::string& path);

// Replaces the file behind each step, whole or not at all. A picture that cannot be written ends
// no video.
class PreviewFile final : public PreviewListener {
 public:
  explicit PreviewFile(std::string path) : path_(std::move(path)) {}
  void on_preview(const PreviewPicture& picture) override;

  // Why the last picture is not there; "" = it is. To be asked when the video has ended.
  [[nodiscard]] const std::string& problem() const noexcept { return problem_; }

 private:
  std::string path_;
  std::string problem_;
};

}  // namespace t2v::cli
