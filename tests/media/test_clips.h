// Clips to write and folders to write them in.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "media/create_media.h"
#include "t2v/error.h"

namespace t2v::media::test {

struct Clip {
  int width = 0;
  int height = 0;
  int frames = 0;
  std::vector<uint8_t> rgb;  // frames x height x width x 3
  [[nodiscard]] const uint8_t* frame(int index) const {
    return rgb.data() + static_cast<size_t>(index) * static_cast<size_t>(width) *
                            static_cast<size_t>(height) * 3;
  }
};

// 27 flat patches (0, 128, 255 per channel) of patch x patch pixels, in 9 columns, the same in each
// frame.
Clip patches(int patch, int frames);
// Smooth gradients that move.
Clip gradient(int width, int height, int frames);
// Independent random bytes: the hardest thing to encode.
Clip noise(int width, int height, int frames);

// An empty folder, removed with all it holds at the end.
class TempFolder {
 public:
  TempFolder();
  TempFolder(const TempFolder&) = delete;
  TempFolder& operator=(const TempFolder&) = delete;
  ~TempFolder();
  [[nodiscard]] std::string operator/(const std::string& name) const { return path_ + "/" + name; }
  [[nodiscard]] const std::string& path() const { return path_; }
  // Names of everything inside, hidden files too, sorted.
  [[nodiscard]] std::vector<std::string> names() const;

 private:
  std::string path_;
};

// begin, write in chunks of 4, finish.
void write_clip(const Clip& clip, const SinkOptions& options, double fps = 16,
                const std::string& recipe = "");

std::string read_all(const std::string& path);

// The kind and text of what the call throws; "" when it throws nothing.
std::string thrown_text(const std::function<void()>& call, ErrorKind kind);

}  // namespace t2v::media::test
