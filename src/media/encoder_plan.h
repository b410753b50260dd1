// From flags to an encoder: which codec, container, pixel format and private options.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "media/av_handle.h"
#include "media/media.h"
#include "media/pixel_converter.h"

namespace t2v::media {

struct EncoderPlan {
  const AVCodec* codec = nullptr;
  const AVOutputFormat* container = nullptr;
  AVPixelFormat pix_fmt = AV_PIX_FMT_NONE;
  PixelLayout layout;
  std::vector<std::pair<std::string, std::string>> options;  // private options of the codec
};

// An encoder of NVIDIA's GPUs: it is in libavcodec whether or not there is a GPU.
bool is_nvenc(const AVCodec& codec) noexcept;

// With an odd width or height most codecs cannot halve the chroma: then yuv444p is chosen, or the
// error says so. Throws Error{kUsage} naming the flag.
EncoderPlan plan_encoder(const SinkOptions& options, bool odd_width, bool odd_height);

}  // namespace t2v::media
