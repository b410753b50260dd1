// A video file as an independent decoder sees it: libavcodec with every error fatal.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

extern "C" {
#include <libavutil/pixfmt.h>
}

namespace t2v::media::test {

struct DecodedVideo {
  int width = 0;
  int height = 0;
  int fps_num = 0;
  int fps_den = 0;
  double duration = 0;  // seconds, of the container
  AVPixelFormat pix_fmt = AV_PIX_FMT_NONE;
  AVColorSpace color_space = AVCOL_SPC_UNSPECIFIED;
  AVColorPrimaries color_primaries = AVCOL_PRI_UNSPECIFIED;
  AVColorTransferCharacteristic color_transfer = AVCOL_TRC_UNSPECIFIED;
  AVColorRange color_range = AVCOL_RANGE_UNSPECIFIED;
  std::vector<double> times;  // of each frame, seconds
  std::vector<std::vector<uint8_t>>
      rgb;  // of each frame; YUV by the BT.709 formulas, chroma repeated
  std::vector<std::string> metadata_keys;  // of file and track
};

// Fails the test on any error.
DecodedVideo decode_video(const std::string& path);

}  // namespace t2v::media::test
