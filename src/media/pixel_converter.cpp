#include "media/pixel_converter.h"

#include <algorithm>
#include <cmath>

#include "core/check.h"

namespace t2v::media {
namespace {

constexpr int kFractionBits =
    16;  // with 12-bit samples and 8 summed pixels the sums stay below 2^31

// ITU-R BT.709-6, item 3.2.
constexpr double kRed = 0.2126;
constexpr double kBlue = 0.0722;

int32_t fixed(double value) {
  return static_cast<int32_t>(std::lround(value * (1 << kFractionBits)));
}

}  // namespace

PixelLayout planar_yuv_layout(int log2_chroma_width, int log2_chroma_height) {
  PixelLayout layout;
  layout.log2_chroma_width = log2_chroma_width;
  layout.log2_chroma_height = log2_chroma_height;
  for (int i = 0; i < 3; ++i) layout.components[static_cast<size_t>(i)].plane = i;
  return layout;
}

PixelConverter::PixelConverter(const PixelLayout& layout, int width, int height)
    : layout_(layout), width_(width), height_(height) {
  T2V_ASSERT(width > 0 && height > 0 && layout.depth >= 8 && layout.depth <= 12);
  T2V_ASSERT(layout.log2_chroma_width <= 1 && layout.log2_chroma_height <= 1);
  const double unit = 1 << (layout.depth - 8);
  const double top = (1 << layout.depth) - 1;
  const double luma = (layout.full_range ? top : 219 * unit) / 255;
  const double chroma = (layout.full_range ? top : 224 * unit) / 255;
  // The green weights make the sums exact: grey has the right luma and no chroma at all.
  luma_ = {fixed(kRed * luma), 0, fixed(kBlue * luma), 0};
  luma_.g = fixed(luma) - luma_.r - luma_.b;
  luma_.offset = layout.full_range ? 0 : fixed(16 * unit);
  cb_ = {fixed(-kRed / (2 * (1 - kBlue)) * chroma), 0, fixed(0.5 * chroma), fixed(128 * unit)};
  cb_.g = -cb_.r - cb_.b;
  cr_ = {fixed(0.5 * chroma), 0, fixed(-kBlue / (2 * (1 - kRed)) * chroma), fixed(128 * unit)};
  cr_.g = -cr_.r - cr_.b;
  sums_.resize(static_cast<size_t>(width));
  row_.resize(static_cast<size_t>(width));
}

void PixelConverter::convert(const uint8_t* rgb, const Planes& planes) {
  if (layout_.rgb) {
    convert_rgb(rgb, planes);
  } else {
    convert_luma(rgb, planes);
    convert_chroma(rgb, planes, 1, cb_);
    convert_chroma(rgb, planes, 2, cr_);
  }
  if (layout_.alpha) fill_alpha(planes);
}

void PixelConverter::convert_rgb(const uint8_t* rgb, const Planes& planes) {
  const int top = (1 << layout_.depth) - 1;
  for (int channel = 0; channel < 3; ++channel) {
    for (int y = 0; y < height_; ++y) {
      const uint8_t* in = rgb + static_cast<ptrdiff_t>(y) * width_ * 3 + channel;
      for (int x = 0; x < width_; ++x) {
        row_[static_cast<size_t>(x)] = static_cast<uint16_t>((in[3 * x] * top + 127) / 255);
      }
      store_row(planes, channel, y, width_);
    }
  }
}

void PixelConverter::convert_luma(const uint8_t* rgb, const Planes& planes) {
  const Weights w = luma_;
  const int32_t bias = w.offset + (1 << (kFractionBits - 1));
  for (int y = 0; y < height_; ++y) {
    const uint8_t* in = rgb + static_cast<ptrdiff_t>(y) * width_ * 3;
    for (int x = 0; x < width_; ++x, in += 3) {
      const int32_t value = w.r * in[0] + w.g * in[1] + w.b * in[2] + bias;
      row_[static_cast<size_t>(x)] = static_cast<uint16_t>(value >> kFractionBits);
    }
    store_row(planes, 0, y, width_);
  }
}

void PixelConverter::convert_chroma(const uint8_t* rgb, const Planes& planes, int component,
                                    const Weights& w) {
  const int rows = 1 << layout_.log2_chroma_height;
  const int columns = 1 << layout_.log2_chroma_width;
  const int out_height = (height_ + rows - 1) / rows;
  const int out_width = (width_ + columns - 1) / columns;
  // Weights of the filter add up to `rows` vertically and to 4 (or 1) horizontally.
  const int extra_bits = layout_.log2_chroma_height + 2 * layout_.log2_chroma_width;
  const int shift = kFractionBits + extra_bits;
  const int32_t bias = (w.offset << extra_bits) + (1 << (shift - 1));
  const int32_t top = (1 << layout_.depth) - 1;
  for (int y = 0; y < out_height; ++y) {
    std::fill(sums_.begin(), sums_.end(), 0);
    for (int k = 0; k < rows; ++k) {
      const int source = std::min(y * rows + k, height_ - 1);
      const uint8_t* in = rgb + static_cast<ptrdiff_t>(source) * width_ * 3;
      for (int x = 0; x < width_; ++x, in += 3) {
        sums_[static_cast<size_t>(x)] += w.r * in[0] + w.g * in[1] + w.b * in[2];
      }
    }
    for (int x = 0; x < out_width; ++x) {
      int32_t value = 0;
      if (columns == 1) {
        value = sums_[static_cast<size_t>(x)];
      } else {
        const int centre = 2 * x;
        const int left = std::max(centre - 1, 0);
        const int right = std::min(centre + 1, width_ - 1);
        value = sums_[static_cast<size_t>(left)] + 2 * sums_[static_cast<size_t>(centre)] +
                sums_[static_cast<size_t>(right)];
      }
      row_[static_cast<size_t>(x)] =
          static_cast<uint16_t>(std::clamp((value + bias) >> shift, 0, top));
    }
    store_row(planes, component, y, out_width);
  }
}

void PixelConverter::fill_alpha(const Planes& planes) {
  std::fill(row_.begin(), row_.end(), static_cast<uint16_t>((1 << layout_.depth) - 1));
  for (int y = 0; y < height_; ++y) store_row(planes, 3, y, width_);
}

void PixelConverter::store_row(const Planes& planes, int component, int y, int count) const {
  const Component& to = layout_.components[static_cast<size_t>(component)];
  const auto plane = static_cast<size_t>(to.plane);
  uint8_t* out = planes.first[plane] + y * planes.stride_bytes[plane] + to.offset_bytes;
  if (layout_.depth == 8) {
    if (to.step_bytes == 1) {
      for (int x = 0; x < count; ++x) out[x] = static_cast<uint8_t>(row_[static_cast<size_t>(x)]);
      return;
    }
    for (int x = 0; x < count; ++x, out += to.step_bytes) {
      *out = static_cast<uint8_t>(row_[static_cast<size_t>(x)]);
    }
    return;
  }
  for (int x = 0; x < count; ++x, out += to.step_bytes) {
    const int value = row_[static_cast<size_t>(x)] << to.shift;
    out[0] = static_cast<uint8_t>(value & 255);
    out[1] = static_cast<uint8_t>(value >> 8);
  }
}

}  // namespace t2v::media
