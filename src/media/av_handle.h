// Owners of libav objects, and its error codes and log lines as plain text.
#pragma once

extern "C" {
#include <libavcodec/avcodec.h>
#include <libavcodec/bsf.h>
#include <libavformat/avformat.h>
#include <libavutil/frame.h>
}

#include <memory>
#include <string>

namespace t2v::media {

struct AvDeleter {
  void operator()(AVCodecContext* p) const noexcept { avcodec_free_context(&p); }
  void operator()(AVFrame* p) const noexcept { av_frame_free(&p); }
  void operator()(AVPacket* p) const noexcept { av_packet_free(&p); }
  void operator()(AVBSFContext* p) const noexcept { av_bsf_free(&p); }
};

// For muxing: the AVIOContext in `pb` has an owner of its own.
struct MuxDeleter {
  void operator()(AVFormatContext* p) const noexcept { avformat_free_context(p); }
};
struct DemuxDeleter {
  void operator()(AVFormatContext* p) const noexcept { avformat_close_input(&p); }
};

using CodecContext = std::unique_ptr<AVCodecContext, AvDeleter>;
using Frame = std::unique_ptr<AVFrame, AvDeleter>;
using Packet = std::unique_ptr<AVPacket, AvDeleter>;
using BitstreamFilter = std::unique_ptr<AVBSFContext, AvDeleter>;
using Muxer = std::unique_ptr<AVFormatContext, MuxDeleter>;
using Demuxer = std::unique_ptr<AVFormatContext, DemuxDeleter>;

// Options given by name; what was not taken stays inside.
class Dictionary {
 public:
  Dictionary() = default;
  Dictionary(const Dictionary&) = delete;
  Dictionary& operator=(const Dictionary&) = delete;
  ~Dictionary() { av_dict_free(&entries_); }
  void set(const char* key, const std::string& value) {
    av_dict_set(&entries_, key, value.c_str(), 0);
  }
  [[nodiscard]] AVDictionary** address() noexcept { return &entries_; }
  // The first key that is left, or "".
  [[nodiscard]] std::string first_key() const;

 private:
  AVDictionary* entries_ = nullptr;
};

// From here on libav prints nothing; its last error line of this process is kept instead.
void capture_av_log() noexcept;
void forget_av_log() noexcept;
// libav has told nothing since then.
[[nodiscard]] bool av_log_is_empty() noexcept;

// "Invalid argument" or, where libav said more since forget_av_log(): "width not divisible by 2
// (libx264)". One line, control bytes escaped.
std::string av_reason(int code);

}  // namespace t2v::media
