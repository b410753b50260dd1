// Pictures and videos that users give, frame by frame, through libavformat and libavcodec.
#pragma once

#include <string>

#include "media/av_handle.h"
#include "media/picture_converter.h"
#include "t2v/frame_source.h"

namespace t2v::media {

// Local files only; nothing that could open a further file or address is followed.
class VideoReader final : public FrameSource {
 public:
  // Decodes the first frame. Throws Error{kInput}: absent, not a picture or video, broken.
  explicit VideoReader(const std::string& path);

  [[nodiscard]] SourceFormat format() const override { return format_; }
  // Throws Error{kInput} for a frame that is broken or of another size.
  bool read(std::vector<uint8_t>& rgb) override;

 private:
  void open(const std::string& path);
  // False: the file has ended.
  bool decode();
  void feed();
  [[nodiscard]] RgbPicture picture() const;

  std::string path_;
  Demuxer input_;
  CodecContext decoder_;
  Packet packet_;
  Frame frame_;
  int stream_ = -1;
  PictureKind kind_ = PictureKind::kVideo;
  Orientation stream_orientation_;
  SourceFormat format_;
  RgbPicture first_;  // until it is read
  bool has_first_ = false;
};

}  // namespace t2v::media
