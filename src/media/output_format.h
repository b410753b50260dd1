// What a path asks for by its suffix.
#pragma once

#include <string>

namespace t2v::media {

enum class OutputFormat { kMp4, kMov, kMkv, kWebm, kWebp, kGif, kPngFolder, kY4m, kRgb, kStdout };

// Throws Error{kUsage} that lists the known suffixes.
OutputFormat output_format_of(const std::string& path);

// Needs libavcodec.
[[nodiscard]] constexpr bool is_video(OutputFormat format) noexcept {
  return format <= OutputFormat::kWebp || format == OutputFormat::kStdout;
}

}  // namespace t2v::media
