// Frames to an animated GIF with one palette for the clip; no dithering, so flat colours stay flat.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "core/atomic_file.h"
#include "media/gif_blocks.h"
#include "media/gif_palette.h"
#include "media/media_sink.h"

namespace t2v::media {

// Throws Error{kUsage}: GIF counts delays in hundredths of a second and sides in 16 bits.
void check_gif_limits(int64_t width, int64_t height, double fps);

class GifWriter : public MediaSink {
 public:
  GifWriter(std::string path, bool metadata) : path_(std::move(path)), metadata_(metadata) {}

  void begin(const VideoFormat& format) override;
  void write(const uint8_t* rgb, int64_t num_frames) override;
  void finish() override;
  void abort() noexcept override;

  // The palette comes from as many frames as fit here (all 81 of 1280x720); later ones use it as it
  // is.
  static constexpr int64_t kHeldBytes = 256 << 20;

 private:
  void start();
  void write_frame(const uint8_t* rgb);
  void put(const std::string& bytes) { file_->write(bytes.data(), bytes.size()); }

  std::string path_;
  bool metadata_;
  VideoFormat format_;
  std::unique_ptr<core::AtomicFile> file_;
  std::unique_ptr<GifPalette> palette_;
  std::vector<uint8_t> held_;  // frames that wait for the palette
  bool started_ = false;
  std::vector<uint8_t> picture_;  // palette entries as shown after the last frame
  int64_t written_ = 0;
};

}  // namespace t2v::media
