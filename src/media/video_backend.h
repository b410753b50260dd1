// The part of media that needs FFmpeg. Two sources implement it: video_ffmpeg.cpp and
// video_absent.cpp.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "media/frame_rate.h"
#include "media/media.h"
#include "media/media_sink.h"

namespace t2v::media::video {

// What can be said without a size: codec, container, pixel format, quality. Throws Error{kUsage}.
void check_options(const SinkOptions& options);
// Opens the encoder as asked and closes it again. Throws Error{kUsage}.
void try_encoder(const SinkOptions& options, int width, int height, FrameRate rate);
std::unique_ptr<MediaSink> make_sink(const SinkOptions& options);
// Throw Error{kInput}.
std::string read_recipe(const std::string& path);
std::string describe(const std::string& path);
std::unique_ptr<FrameSource> open_source(const std::string& path);
std::vector<EncoderName> encoders();
// A whole JPEG file of 8-bit RGB. Throws Error{kUsage, kOutput}.
std::string make_jpeg(const uint8_t* rgb, int width, int height);

}  // namespace t2v::media::video
