#include "media/picture_converter.h"

extern "C" {
#include <libavutil/pixdesc.h>
}

#include <algorithm>
#include <array>
#include <cmath>

#include "core/check.h"

namespace t2v::media {
namespace {

// One colour component of a picture, in its own size.
struct Samples {
  int width = 0, height = 0;
  std::vector<float> values;  // 0 to 1 of full range
  [[nodiscard]] const float* row(int y) const {
    return values.data() +
           static_cast<size_t>(std::clamp(y, 0, height - 1)) * static_cast<size_t>(width);
  }
};

Samples read_component(const AVFrame& frame, const AVPixFmtDescriptor& format, int component) {
  const bool is_chroma =
      (component == 1 || component == 2) && (format.flags & AV_PIX_FMT_FLAG_RGB) == 0;
  Samples samples;
  samples.width = is_chroma ? AV_CEIL_RSHIFT(frame.width, format.log2_chroma_w) : frame.width;
  samples.height = is_chroma ? AV_CEIL_RSHIFT(frame.height, format.log2_chroma_h) : frame.height;
  samples.values.resize(static_cast<size_t>(samples.width) * static_cast<size_t>(samples.height));
  const bool palette = (format.flags & AV_PIX_FMT_FLAG_PAL) != 0;
  const int depth = palette ? 8 : format.comp[component].depth;
  const float scale = 1.0F / static_cast<float>((1U << depth) - 1U);
  std::vector<uint16_t> line(static_cast<size_t>(samples.width));
  std::array<const uint8_t*, 4> planes{};
  std::array<int, 4> strides{};
  for (size_t i = 0; i < 4; ++i) {
    planes[i] = frame.data[i];
    strides[i] = frame.linesize[i];
  }
  for (int y = 0; y < samples.height; ++y) {
    av_read_image_line2(line.data(), planes.data(), strides.data(), &format, 0, y, component,
                        samples.width, palette ? 1 : 0, sizeof(uint16_t));
    float* out =
        samples.values.data() + static_cast<size_t>(y) * static_cast<size_t>(samples.width);
    std::transform(line.begin(), line.end(), out,
                   [&](uint16_t v) { return static_cast<float>(v) * scale; });
  }
  return samples;
}

// Where a chroma sample lies between luma samples: `offset` luma pixels behind the first of its
// group (0 on it, half in the middle).
struct Siting {
  float x = 0, y = 0.5F;
};

Siting siting_of(const AVFrame& frame, const AVPixFmtDescriptor& format, PictureKind kind) {
  Siting siting;
  AVChromaLocation location = frame.chroma_location;
  if (location == AVCHROMA_LOC_UNSPECIFIED)
    location = kind == PictureKind::kStill ? AVCHROMA_LOC_CENTER : AVCHROMA_LOC_LEFT;
  const bool middle = location == AVCHROMA_LOC_CENTER || location == AVCHROMA_LOC_TOP ||
                      location == AVCHROMA_LOC_BOTTOM;
  siting.x = middle ? 0.5F * static_cast<float>((1 << format.log2_chroma_w) - 1) : 0;
  siting.y = 0.5F * static_cast<float>((1 << format.log2_chroma_h) - 1);
  if (location == AVCHROMA_LOC_TOPLEFT || location == AVCHROMA_LOC_TOP) siting.y = 0;
  return siting;
}

// One row of chroma as seen from a luma row, interpolated.
class ChromaRow {
 public:
  ChromaRow(const Samples& samples, int width, int step_x, const Siting& siting)
      : samples_(samples), siting_(siting), mixed_(static_cast<size_t>(samples.width)) {
    for (int x = 0; x < width; ++x) {
      const float place = (static_cast<float>(x) - siting.x) / static_cast<float>(step_x);
      const float below = std::floor(place);
      const int last = samples.width - 1;
      first_.push_back(std::clamp(static_cast<int>(below), 0, last));
      second_.push_back(std::clamp(static_cast<int>(below) + 1, 0, last));
      share_.push_back(place - below);
    }
  }
  void read(int y, int step_y, std::vector<float>& out) {
    const float place = (static_cast<float>(y) - siting_.y) / static_cast<float>(step_y);
    const float below = std::floor(place);
    const float* upper = samples_.row(static_cast<int>(below));
    const float* lower = samples_.row(static_cast<int>(below) + 1);
    for (size_t i = 0; i < mixed_.size(); ++i)
      mixed_[i] = upper[i] + (lower[i] - upper[i]) * (place - below);
    for (size_t x = 0; x < out.size(); ++x) {
      const float left = mixed_[static_cast<size_t>(first_[x])];
      out[x] = left + (mixed_[static_cast<size_t>(second_[x])] - left) * share_[x];
    }
  }

 private:
  const Samples& samples_;
  Siting siting_;
  std::vector<float> mixed_;
  std::vector<int> first_, second_;
  std::vector<float> share_;
};

struct Matrix {
  float kr = 0.299F, kb = 0.114F;
};

Matrix matrix_of(const AVFrame& frame, PictureKind kind) {
  switch (frame.colorspace) {
    case AVCOL_SPC_BT709:
      return {0.2126F, 0.0722F};
    case AVCOL_SPC_BT2020_NCL:
    case AVCOL_SPC_BT2020_CL:
      return {0.2627F, 0.0593F};
    case AVCOL_SPC_UNSPECIFIED:
    case AVCOL_SPC_RESERVED:
      return kind == PictureKind::kVideo && frame.height >= 720 ? Matrix{0.2126F, 0.0722F}
                                                                : Matrix{};
    default:
      return {};
  }
}

bool is_full_range(const AVFrame& frame, bool grey, PictureKind kind) {
  if (frame.color_range != AVCOL_RANGE_UNSPECIFIED) return frame.color_range == AVCOL_RANGE_JPEG;
  const auto format = static_cast<AVPixelFormat>(frame.format);
  if (format == AV_PIX_FMT_YUVJ420P || format == AV_PIX_FMT_YUVJ422P ||
      format == AV_PIX_FMT_YUVJ444P || format == AV_PIX_FMT_YUVJ440P)
    return true;
  return grey && kind == PictureKind::kStill;
}

uint8_t byte_of(float value) {
  return static_cast<uint8_t>(std::lround(std::clamp(value, 0.0F, 1.0F) * 255));
}

void convert_rgb(const AVFrame& frame, const AVPixFmtDescriptor& format, RgbPicture& out) {
  for (int component = 0; component < 3; ++component) {
    const Samples samples = read_component(frame, format, component);
    for (size_t i = 0; i < samples.values.size(); ++i)
      out.rgb[i * 3 + static_cast<size_t>(component)] = byte_of(samples.values[i]);
  }
}

void convert_grey(const Samples& luma, bool full, RgbPicture& out) {
  for (size_t i = 0; i < luma.values.size(); ++i) {
    const float y = full ? luma.values[i] : (luma.values[i] * 255 - 16) / 219;
    std::fill_n(out.rgb.begin() + static_cast<int64_t>(i) * 3, 3, byte_of(y));
  }
}

void convert_yuv(const AVFrame& frame, const AVPixFmtDescriptor& format, PictureKind kind,
                 RgbPicture& out) {
  const Samples luma = read_component(frame, format, 0);
  const Samples blue = read_component(frame, format, 1), red = read_component(frame, format, 2);
  const bool full = is_full_range(frame, false, kind);
  const Matrix m = matrix_of(frame, kind);
  const float kg = 1 - m.kr - m.kb;
  const Siting siting = siting_of(frame, format, kind);
  ChromaRow blue_row(blue, frame.width, 1 << format.log2_chroma_w, siting);
  ChromaRow red_row(red, frame.width, 1 << format.log2_chroma_w, siting);
  // 128 of 255 is no colour; limited range: 16 to 235 and 16 to 240.
  const float y_scale = full ? 1 : 255.0F / 219, y_offset = full ? 0 : 16.0F / 255;
  const float c_scale = full ? 2 : 2 * 255.0F / 224, c_offset = 128.0F / 255;
  const auto width = static_cast<size_t>(frame.width);
  std::vector<float> b(width), r(width);
  for (int y = 0; y < frame.height; ++y) {
    blue_row.read(y, 1 << format.log2_chroma_h, b);
    red_row.read(y, 1 << format.log2_chroma_h, r);
    const float* row = luma.row(y);
    uint8_t* to = out.rgb.data() + static_cast<size_t>(y) * width * 3;
    for (size_t x = 0; x < width; ++x) {
      const float light = (row[x] - y_offset) * y_scale;
      const float cb = (b[x] - c_offset) * c_scale, cr = (r[x] - c_offset) * c_scale;
      const float red_value = light + cr * (1 - m.kr), blue_value = light + cb * (1 - m.kb);
      *to++ = byte_of(red_value);
      *to++ = byte_of((light - m.kr * red_value - m.kb * blue_value) / kg);
      *to++ = byte_of(blue_value);
    }
  }
}

}  // namespace

Orientation orientation_of(const int32_t* matrix) {
  const int32_t a = matrix[0], b = matrix[1], c = matrix[3], d = matrix[4];
  Orientation o;
  if (a != 0 && d != 0 && b == 0 && c == 0) {
    o.mirror_columns = a < 0;
    o.mirror_rows = d < 0;
  } else if (a == 0 && d == 0 && b != 0 && c != 0) {
    o.transpose = true;
    o.mirror_columns = b < 0;  // a column becomes a row
    o.mirror_rows = c < 0;
  }
  return o;
}

RgbPicture to_rgb(const AVFrame& frame, PictureKind kind) {
  const AVPixFmtDescriptor* format = av_pix_fmt_desc_get(static_cast<AVPixelFormat>(frame.format));
  T2V_REQUIRE(format && (format->flags & (AV_PIX_FMT_FLAG_HWACCEL | AV_PIX_FMT_FLAG_FLOAT |
                                          AV_PIX_FMT_FLAG_BAYER)) == 0,
              ErrorKind::kInput, "cannot convert pixels of format '", format ? format->name : "?",
              "' to RGB; try PNG, JPEG or an H.264 video");
  RgbPicture out{.width = frame.width, .height = frame.height, .rgb = {}};
  out.rgb.resize(static_cast<size_t>(frame.width) * static_cast<size_t>(frame.height) * 3);
  const bool rgb = (format->flags & (AV_PIX_FMT_FLAG_RGB | AV_PIX_FMT_FLAG_PAL)) != 0;
  if (rgb) {
    convert_rgb(frame, *format, out);
  } else if (format->nb_components < 3) {
    convert_grey(read_component(frame, *format, 0), is_full_range(frame, true, kind), out);
  } else {
    convert_yuv(frame, *format, kind, out);
  }
  return out;
}

RgbPicture turned(RgbPicture picture, const Orientation& o) {
  if (!o.mirror_columns && !o.mirror_rows && !o.transpose) return picture;
  const int64_t w = picture.width, h = picture.height;
  RgbPicture out{.width = o.transpose ? h : w, .height = o.transpose ? w : h, .rgb = {}};
  out.rgb.resize(picture.rgb.size());
  for (int64_t y = 0; y < h; ++y) {
    for (int64_t x = 0; x < w; ++x) {
      const int64_t column = o.mirror_columns ? w - 1 - x : x;
      const int64_t row = o.mirror_rows ? h - 1 - y : y;
      const int64_t to = o.transpose ? column * out.width + row : row * out.width + column;
      std::copy_n(picture.rgb.begin() + (y * w + x) * 3, 3, out.rgb.begin() + to * 3);
    }
  }
  return out;
}

}  // namespace t2v::media
