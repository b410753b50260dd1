#include "media/gif_writer.h"

#include <algorithm>
#include <cmath>

#include "core/check.h"
#include "core/escape.h"

namespace t2v::media {
namespace {

constexpr double kMaxFps = 50;  // viewers take delays under 2/100 s for 10/100 s
constexpr int64_t kMaxSide = 65535;
constexpr int kTransparent = 255;

int64_t centiseconds(int64_t frames, double fps) {
  return std::llround(static_cast<double>(frames) * 100 / fps);
}

// The smallest rectangle outside which nothing changed; one pixel when nothing did.
GifArea changed_area(const std::vector<uint8_t>& before, const std::vector<uint8_t>& after,
                     int width, int height) {
  int left = width, right = -1, top = height, bottom = -1;
  for (int y = 0; y < height; ++y) {
    const size_t row = static_cast<size_t>(y) * static_cast<size_t>(width);
    for (int x = 0; x < width; ++x) {
      if (before[row + static_cast<size_t>(x)] == after[row + static_cast<size_t>(x)]) continue;
      left = std::min(left, x);
      right = std::max(right, x);
      top = std::min(top, y);
      bottom = y;
    }
  }
  if (right < 0) return {0, 0, 1, 1};
  return {left, top, right - left + 1, bottom - top + 1};
}

}  // namespace

void check_gif_limits(int64_t width, int64_t height, double fps) {
  T2V_REQUIRE(fps <= kMaxFps, ErrorKind::kUsage, "GIF can show at most ", kMaxFps,
              " frames per second, got ", fps, " (--fps); try .mp4");
  T2V_REQUIRE(width <= kMaxSide && height <= kMaxSide, ErrorKind::kUsage, "GIF can be at most ",
              kMaxSide, " pixels wide and high, got ", width, "x", height, " (--size); try .mp4");
}

void GifWriter::begin(const VideoFormat& format) {
  check_gif_limits(format.width, format.height, format.fps);
  abort();
  format_ = format;
  file_ = std::make_unique<core::AtomicFile>(path_);
  palette_ = std::make_unique<GifPalette>();
}

void GifWriter::write(const uint8_t* rgb, int64_t num_frames) {
  T2V_ASSERT(file_);
  const int64_t frame_bytes = format_.width * format_.height * 3;
  for (int64_t i = 0; i < num_frames; ++i, rgb += frame_bytes) {
    if (started_) {
      write_frame(rgb);
      continue;
    }
    palette_->count(rgb, format_.width * format_.height);
    held_.insert(held_.end(), rgb, rgb + frame_bytes);
    if (static_cast<int64_t>(held_.size()) + frame_bytes > kHeldBytes) start();
  }
}

void GifWriter::start() {
  palette_->choose();
  put(gif_start(static_cast<int>(format_.width), static_cast<int>(format_.height),
                palette_->colours(), metadata_ ? format_.recipe_json : ""));
  started_ = true;
  const std::vector<uint8_t> frames = std::move(held_);
  held_ = {};
  const auto frame_bytes = static_cast<size_t>(format_.width * format_.height * 3);
  for (size_t at = 0; at < frames.size(); at += frame_bytes) write_frame(frames.data() + at);
}

void GifWriter::write_frame(const uint8_t* rgb) {
  const int width = static_cast<int>(format_.width);
  const int height = static_cast<int>(format_.height);
  std::vector<uint8_t> next(static_cast<size_t>(width) * static_cast<size_t>(height));
  for (uint8_t& index : next) {
    index = palette_->nearest(rgb);
    rgb += 3;
  }
  const bool first = picture_.empty();
  const GifArea area =
      first ? GifArea{0, 0, width, height} : changed_area(picture_, next, width, height);
  std::vector<uint8_t> indices;
  indices.reserve(static_cast<size_t>(area.width) * static_cast<size_t>(area.height));
  for (int y = area.y; y < area.y + area.height; ++y) {
    for (int x = area.x; x < area.x + area.width; ++x) {
      const size_t at =
          static_cast<size_t>(y) * static_cast<size_t>(width) + static_cast<size_t>(x);
      const bool same = !first && picture_[at] == next[at];
      indices.push_back(same ? uint8_t{kTransparent} : next[at]);
    }
  }
  // Rounding is done on the clock, not on each delay: the whole clip lasts what it should.
  const int64_t delay =
      centiseconds(written_ + 1, format_.fps) - centiseconds(written_, format_.fps);
  put(gif_frame(area, indices, static_cast<int>(std::clamp<int64_t>(delay, 2, kMaxSide)),
                kTransparent));
  picture_ = std::move(next);
  ++written_;
}

void GifWriter::finish() {
  T2V_ASSERT(file_);
  if (!started_) start();
  T2V_REQUIRE(written_ > 0, ErrorKind::kOutput, "cannot finish output: no frame was written ('",
              core::escape_control(path_), "')");
  put(gif_end());
  file_->commit();
  abort();
}

void GifWriter::abort() noexcept {
  file_.reset();
  palette_.reset();
  held_ = {};
  picture_ = {};
  started_ = false;
  written_ = 0;
}

}  // namespace t2v::media
