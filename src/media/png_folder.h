// Frames as a folder of PNG files, 00000.png and so on; the folder appears when it is whole.
#pragma once

#include <string>

#include "media/media_sink.h"

namespace t2v::media {

// An existing target may only be a folder of earlier frames, which is then replaced as a whole.
// Throws Error{kOutput}.
void check_png_target(const std::string& path);

// "00042.png"
std::string png_frame_name(int64_t index);

class PngFolder : public MediaSink {
 public:
  // metadata: embed the recipe in every frame.
  PngFolder(std::string path, bool metadata);
  ~PngFolder() override;

  void begin(const VideoFormat& format) override;
  void write(const uint8_t* rgb, int64_t num_frames) override;
  void finish() override;
  void abort() noexcept override;

 private:
  std::string path_;
  bool metadata_;
  std::string temporary_;  // "" = none
  VideoFormat format_;
  int64_t written_ = 0;
};

}  // namespace t2v::media
