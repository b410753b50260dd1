// Looking at GIF, WebP and PNG files and folders of PNG frames; needs no FFmpeg.
#pragma once

#include <optional>
#include <string>

namespace t2v::media {

struct StillSummary {
  std::string recipe_json;  // "" = none
  std::string json;         // as Media::describe
};

// Decides by content; nothing when the path is something else (a video file, perhaps).
// Throws Error{kInput} when the path cannot be read or is a broken GIF, WebP or PNG.
std::optional<StillSummary> read_still_file(const std::string& path);

}  // namespace t2v::media
