// What the program sees of media: checks of the output flags, sinks for frames, looking at a video.
// The code lives in libt2v_media.so, which is loaded when first needed (open_media).
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "core/module.h"
#include "t2v/frame_sink.h"
#include "t2v/frame_source.h"

namespace t2v::media {

// The suffix of the path decides the format: .mp4 .mov .mkv .webm (video), .gif and .webp
// (animated), .png (a FOLDER of that very name with 00000.png, 00001.png, ...), .y4m and .rgb
// (raw). "-" is fragmented MP4 on stdout.
struct SinkOptions {
  std::string path = "";            // "-" = standard output
  std::string codec = "";           // libavcodec encoder; "" = libx264, for .webm libvpx-vp9
  std::optional<int> crf = {};      // constant quality, lower is better; absent = 18 for libx264
  std::string pix_fmt = "";         // "" = yuv420p (yuv444p where the codec has no odd-sized 4:2:0)
  std::string encoder_preset = "";  // libx264: ultrafast ... veryslow; "" = the codec's own
  bool metadata = true;             // false: neither recipe nor encoder settings in the file
  std::string watermark = "";       // a text, or a path that ends in .png; "" = none
  std::string c2pa_cert = "";       // certificate chain, PEM; given with c2pa_key or not at all
  std::string c2pa_key = "";        // private key, PEM
  std::string c2pa_library = "";    // libc2pa_c.so; "" = beside t2v or where the loader looks
};

struct EncoderName {
  std::string name;       // for --codec
  std::string long_name;  // for people
};

class Media {
 public:
  Media() = default;
  Media(const Media&) = delete;
  Media& operator=(const Media&) = delete;
  virtual ~Media() = default;

  // Everything that can be known before work: suffix, codec, pixel format, quality, frame rate, and
  // that the target can be written. Opens the encoder once; writes nothing.
  // Throws Error{kUsage, kOutput}.
  virtual void validate(const SinkOptions& options, int64_t width, int64_t height,
                        double fps) const = 0;

  // The same as far as it is known without size and frame rate.
  virtual void validate(const SinkOptions& options) const = 0;

  // A sink with a thread of its own: write() returns as soon as the frames are queued (bounded),
  // an error of the encoder or the disk surfaces at the next write() or at finish().
  [[nodiscard]] virtual std::unique_ptr<FrameSink> create_sink(
      const SinkOptions& options) const = 0;

  // The recipe that t2v embedded in a video, a GIF, a WebP, a PNG or a folder of PNGs; "" when
  // there is none. Throws Error{kInput} when the path is absent or not a video.
  [[nodiscard]] virtual std::string read_recipe(const std::string& path) const = 0;

  // One JSON object: container, codec, width, height, frames, fps, duration, pix_fmt, color_range,
  // color_space, color_primaries, color_transfer (each null where unknown). Throws Error{kInput}.
  [[nodiscard]] virtual std::string describe(const std::string& path) const = 0;

  // Frames of a picture or a video that the user gives. Throws Error{kInput} when it cannot be
  // read.
  [[nodiscard]] virtual std::unique_ptr<FrameSource> open_source(const std::string& path) const = 0;

  // Video encoders of this build, best known first; empty without FFmpeg.
  [[nodiscard]] virtual std::vector<EncoderName> encoders() const = 0;

  // A whole picture file of 8-bit RGB; suffix: ".png", ".jpg" or ".jpeg" (these need FFmpeg).
  // Throws Error{kUsage} for others.
  [[nodiscard]] virtual std::string encode_picture(const std::string& suffix, const uint8_t* rgb,
                                                   int64_t width, int64_t height) const = 0;
};

// Loads the module at the first call. Throws Error{kInternal} when the installation is incomplete.
inline const Media& open_media() {
  static const std::unique_ptr<Media> media([] {
    using Create = Media* (*)();
    return reinterpret_cast<Create>(core::load_module("t2v_media", "t2v_create_media"))();
  }());
  return *media;
}

}  // namespace t2v::media
