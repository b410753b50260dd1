// Pictures and videos that the command line names.
#pragma once

#include <map>
#include <memory>
#include <string>

#include "t2v/frame_source.h"
#include "t2v/request.h"

namespace t2v::cli {

// flag: what named it, for messages. Throws Error{kInput}: absent, a folder, not readable.
std::unique_ptr<FrameSource> open_frames(const std::string& path, const std::string& flag);

// Reads each file once, however many requests name it.
class Pictures {
 public:
  // The files of image_path and last_image_path into image and last_image: of a video the first
  // frame. Throws Error{kInput}.
  void load(Request& request);

 private:
  std::shared_ptr<const Picture> read(const std::string& path, const std::string& flag);
  std::map<std::string, std::shared_ptr<const Picture>> known_;
};

}  // namespace t2v::cli
