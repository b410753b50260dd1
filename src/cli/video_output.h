// Flags of the video file, shared by the commands that write one.
#pragma once

#include <string>

#include "cli/options.h"
#include "media/media.h"

namespace t2v::cli {

// --codec, --crf, --pix-fmt, --encoder-preset, --no-metadata, --watermark, --c2pa-cert, --c2pa-key;
// the path stays empty.
media::SinkOptions read_sink_options(const Flags& flags);

// The same options for this path.
media::SinkOptions with_path(media::SinkOptions options, const std::string& path);

// Checks before any work that the video can be written: suffix, options, folder.
// Throws Error{kUsage, kOutput}.
void require_video_target(const media::SinkOptions& options);

// Throws Error{kOutput} when there is a folder of that name.
void require_no_folder(const std::string& path, const std::string& flag);

// The same for files that are no videos; "" is fine.
void require_file_path(const std::string& path, const std::string& flag);

// Writes a small file whole or not at all. Throws Error{kOutput}.
void write_file(const std::string& path, const std::string& text);

}  // namespace t2v::cli
