#include "media/output_format.h"

#include <algorithm>
#include <cctype>
#include <filesystem>
#include <utility>

#include "core/check.h"
#include "core/escape.h"

namespace t2v::media {
namespace {

constexpr std::pair<const char*, OutputFormat> kSuffixes[] = {
    {".mp4", OutputFormat::kMp4},       {".mov", OutputFormat::kMov},
    {".mkv", OutputFormat::kMkv},       {".webm", OutputFormat::kWebm},
    {".webp", OutputFormat::kWebp},     {".gif", OutputFormat::kGif},
    {".png", OutputFormat::kPngFolder}, {".y4m", OutputFormat::kY4m},
    {".rgb", OutputFormat::kRgb},
};

}  // namespace

OutputFormat output_format_of(const std::string& path) {
  T2V_REQUIRE(!path.empty(), ErrorKind::kUsage, "output name is empty (--output); try -o out.mp4");
  if (path == "-") return OutputFormat::kStdout;
  std::string suffix = std::filesystem::path(path).extension().string();
  std::transform(suffix.begin(), suffix.end(), suffix.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  std::string known;
  for (const auto& [name, format] : kSuffixes) {
    if (suffix == name) return format;
    known += core::str(known.empty() ? "" : " ", name);
  }
  throw Error(ErrorKind::kUsage,
              core::str(suffix.empty() ? "output name has no suffix" : "output suffix is unknown",
                        ": '", core::escape_control(path), "', known are ", known, " (--output)"));
}

}  // namespace t2v::media
