#include "media/webp_writer.h"

#include <cmath>

#include "core/atomic_file.h"
#include "core/check.h"
#include "core/escape.h"
#include "media/webp_file.h"

namespace t2v::media {

void WebpWriter::begin(const VideoFormat& format) {
  abort();
  format_ = format;
  encoder_ = std::make_unique<VideoEncoder>(
      plan_encoder(options_, false, false),
      VideoEncoder::Settings{.width = static_cast<int>(format.width),
                             .height = static_cast<int>(format.height),
                             .rate = frame_rate_of(format.fps),
                             .describe_itself = options_.metadata});
}

void WebpWriter::write(const uint8_t* rgb, int64_t num_frames) {
  T2V_ASSERT(encoder_ && num_frames >= 0);
  for (int64_t i = 0; i < num_frames; ++i) {
    encoder_->encode(rgb + i * format_.width * format_.height * 3, [this](AVPacket& packet) {
      bytes_.append(reinterpret_cast<const char*>(packet.data), static_cast<size_t>(packet.size));
    });
    ++written_;
  }
}

void WebpWriter::finish() {
  T2V_ASSERT(encoder_);
  T2V_REQUIRE(written_ > 0, ErrorKind::kOutput, "cannot finish output: no frame was written ('",
              core::escape_control(options_.path), "'); try at least one frame");
  encoder_->flush([this](AVPacket& packet) {
    bytes_.append(reinterpret_cast<const char*>(packet.data), static_cast<size_t>(packet.size));
  });
  const auto duration_ms =
      static_cast<int64_t>(std::llround(static_cast<double>(written_) * 1000 / format_.fps));
  const std::string file = finished_webp(bytes_, {.width = format_.width, .height = format_.height},
                                         duration_ms, options_.metadata ? format_.recipe_json : "");
  core::AtomicFile out(options_.path);
  out.write(file.data(), file.size());
  out.commit();
  abort();
}

void WebpWriter::abort() noexcept {
  encoder_.reset();
  bytes_.clear();
  written_ = 0;
}

}  // namespace t2v::media
