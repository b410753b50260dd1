// Decoded pictures of any pixel format to RGB bytes: colour matrix and range as the file says,
// chroma interpolated, rotated as the camera was held, alpha dropped.
#pragma once

#include <cstdint>
#include <vector>

#include "media/av_handle.h"

namespace t2v::media {

// What a file leaves open is answered as is usual for its kind.
enum class PictureKind { kStill, kVideo };

// How a picture is turned before it is shown: first mirrored, then rows and columns exchanged.
struct Orientation {
  bool mirror_columns = false;
  bool mirror_rows = false;
  bool transpose = false;
};
// matrix: nine numbers of a display matrix (libavutil/display.h); other angles than right ones are
// taken as none.
Orientation orientation_of(const int32_t* matrix);

struct RgbPicture {
  int64_t width = 0, height = 0;
  std::vector<uint8_t> rgb;  // height x width x 3
};

// Throws Error{kInput} for a pixel format that only a device can read.
RgbPicture to_rgb(const AVFrame& frame, PictureKind kind);
RgbPicture turned(RgbPicture picture, const Orientation& orientation);

}  // namespace t2v::media
