#include "media/raw_writer.h"

#include <array>
#include <string_view>

#include "core/check.h"
#include "core/escape.h"
#include "media/frame_rate.h"
#include "media/output_format.h"

namespace t2v::media {
namespace {

struct Y4mFormat {
  std::string_view pix_fmt;
  std::string_view tag;  // mpeg2: chroma on the left pixel
  int log2_chroma_width;
  int log2_chroma_height;
};

constexpr std::array<Y4mFormat, 3> kFormats{
    {{"yuv420p", "420mpeg2", 1, 1}, {"yuv422p", "422", 1, 0}, {"yuv444p", "444", 0, 0}}};

const Y4mFormat& y4m_format(const std::string& pix_fmt) {
  if (pix_fmt.empty()) return kFormats[0];
  for (const Y4mFormat& format : kFormats) {
    if (format.pix_fmt == pix_fmt) return format;
  }
  throw Error(ErrorKind::kUsage,
              core::str("pixel format '", core::escape_control(pix_fmt),
                        "' does not fit into .y4m (--pix-fmt); try yuv420p, yuv422p or yuv444p"));
}

}  // namespace

void check_raw_options(const SinkOptions& options) {
  const bool y4m = output_format_of(options.path) == OutputFormat::kY4m;
  if (y4m) y4m_format(options.pix_fmt);
  T2V_REQUIRE(y4m || options.pix_fmt.empty() || options.pix_fmt == "rgb24", ErrorKind::kUsage,
              "pixel format '", core::escape_control(options.pix_fmt),
              "' does not fit into .rgb (--pix-fmt); try rgb24");
}

void RawWriter::begin(const VideoFormat& format) {
  format_ = format;
  file_ = std::make_unique<core::AtomicFile>(options_.path);
  if (output_format_of(options_.path) == OutputFormat::kRgb) return;
  const Y4mFormat& y4m = y4m_format(options_.pix_fmt);
  const FrameRate rate = frame_rate_of(format.fps);
  const std::string header =
      core::str("YUV4MPEG2 W", format.width, " H", format.height, " F", rate.num, ":", rate.den,
                " Ip A1:1 C", y4m.tag, " XCOLORRANGE=LIMITED\n");
  file_->write(header.data(), header.size());
  const int64_t chroma_width = (format.width + y4m.log2_chroma_width) >> y4m.log2_chroma_width;
  const int64_t chroma_height = (format.height + y4m.log2_chroma_height) >> y4m.log2_chroma_height;
  const int64_t luma = format.width * format.height;
  const int64_t chroma = chroma_width * chroma_height;
  planes_.resize(static_cast<size_t>(luma + 2 * chroma));
  addresses_.first = {planes_.data(), planes_.data() + luma, planes_.data() + luma + chroma,
                      nullptr};
  addresses_.stride_bytes = {format.width, chroma_width, chroma_width, 0};
  converter_ = std::make_unique<PixelConverter>(
      planar_yuv_layout(y4m.log2_chroma_width, y4m.log2_chroma_height),
      static_cast<int>(format.width), static_cast<int>(format.height));
}

void RawWriter::write(const uint8_t* rgb, int64_t num_frames) {
  T2V_ASSERT(file_);
  const int64_t frame_bytes = format_.width * format_.height * 3;
  if (!converter_) {
    file_->write(rgb, static_cast<size_t>(num_frames * frame_bytes));
    return;
  }
  for (int64_t i = 0; i < num_frames; ++i) write_y4m_frame(rgb + i * frame_bytes);
}

void RawWriter::write_y4m_frame(const uint8_t* rgb) {
  constexpr std::string_view kHeader = "FRAME\n";
  converter_->convert(rgb, addresses_);
  file_->write(kHeader.data(), kHeader.size());
  file_->write(planes_.data(), planes_.size());
}

void RawWriter::finish() {
  T2V_ASSERT(file_);
  file_->commit();
  abort();
}

void RawWriter::abort() noexcept {
  file_.reset();
  converter_.reset();
}

}  // namespace t2v::media
