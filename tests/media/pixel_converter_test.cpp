// The converter against the BT.709 formulas in double precision.
#include "media/pixel_converter.h"

#include <algorithm>
#include <catch2/catch.hpp>
#include <cmath>
#include <vector>

#include "media/test_clips.h"

namespace t2v::media {
namespace {

struct Image {
  std::vector<uint8_t> bytes;
  Planes planes;
};

Image image_for(int width, int height, int log2_w, int log2_h) {
  const int cw = (width + log2_w) >> log2_w;
  const int ch = (height + log2_h) >> log2_h;
  Image image;
  image.bytes.resize(static_cast<size_t>(width * height + 2 * cw * ch));
  image.planes.first = {image.bytes.data(), image.bytes.data() + width * height,
                        image.bytes.data() + width * height + cw * ch, nullptr};
  image.planes.stride_bytes = {width, cw, cw, 0};
  return image;
}

struct Yuv {
  double y, cb, cr;
};

Yuv exact(const uint8_t* rgb) {
  const double y = 0.2126 * rgb[0] + 0.7152 * rgb[1] + 0.0722 * rgb[2];
  return {16 + y * 219 / 255, 128 + (rgb[2] - y) / 1.8556 * 224 / 255,
          128 + (rgb[0] - y) / 1.5748 * 224 / 255};
}

TEST_CASE("every colour of a coarse cube is rounded to the nearest code") {
  const int step = 5;
  std::vector<uint8_t> rgb;
  for (int i = 0; i <= 255; i += step)
    for (int j = 0; j <= 255; j += step)
      for (int k = 0; k <= 255; k += step)
        for (const int v : {i, j, k}) rgb.push_back(static_cast<uint8_t>(v));
  const int count = static_cast<int>(rgb.size() / 3);
  Image image = image_for(count, 1, 0, 0);
  PixelConverter(planar_yuv_layout(0, 0), count, 1).convert(rgb.data(), image.planes);
  double worst = 0;
  for (int i = 0; i < count; ++i) {
    const Yuv want = exact(rgb.data() + 3 * i);
    worst = std::max({worst, std::abs(image.planes.first[0][i] - want.y),
                      std::abs(image.planes.first[1][i] - want.cb),
                      std::abs(image.planes.first[2][i] - want.cr)});
  }
  CHECK(worst < 0.502);  // half a code, and the 16 fraction bits
}

TEST_CASE("grey has no chroma") {
  for (int v = 0; v < 256; ++v) {
    const std::vector<uint8_t> rgb(3, static_cast<uint8_t>(v));
    Image image = image_for(1, 1, 1, 1);
    PixelConverter(planar_yuv_layout(1, 1), 1, 1).convert(rgb.data(), image.planes);
    CHECK(image.bytes[1] == 128);
    CHECK(image.bytes[2] == 128);
  }
}

TEST_CASE("halved chroma is sited left and repeats the edges") {
  const auto [width, height] =
      GENERATE(std::pair{1, 1}, std::pair{5, 3}, std::pair{8, 2}, std::pair{65, 47});
  const test::Clip clip = test::noise(width, height, 1);
  Image image = image_for(width, height, 1, 1);
  PixelConverter(planar_yuv_layout(1, 1), width, height).convert(clip.frame(0), image.planes);
  const auto cb = [&](int x, int y) {
    x = std::clamp(x, 0, width - 1);
    y = std::min(y, height - 1);
    return exact(clip.frame(0) + (y * width + x) * 3).cb;
  };
  double worst = 0;
  for (int y = 0; y < (height + 1) / 2; ++y) {
    for (int x = 0; x < (width + 1) / 2; ++x) {
      double want = 0;
      for (const int row : {2 * y, 2 * y + 1})
        want += (cb(2 * x - 1, row) + 2 * cb(2 * x, row) + cb(2 * x + 1, row)) / 8;
      worst = std::max(worst, std::abs(image.planes.first[1][y * ((width + 1) / 2) + x] - want));
    }
  }
  CHECK(worst < 0.502);
}

TEST_CASE("interleaved RGB with alpha and ten bits") {
  PixelLayout layout;
  layout.rgb = layout.alpha = true;
  for (int i = 0; i < 4; ++i) layout.components[static_cast<size_t>(i)] = {0, 4, 3 - i, 0};  // ABGR
  const std::vector<uint8_t> rgb{1, 2, 3};
  std::vector<uint8_t> out(4);
  Planes planes;
  planes.first[0] = out.data();
  planes.stride_bytes[0] = 4;
  PixelConverter(layout, 1, 1).convert(rgb.data(), planes);
  CHECK(out == std::vector<uint8_t>{255, 3, 2, 1});

  PixelLayout wide = planar_yuv_layout(0, 0);
  wide.depth = 10;
  for (Component& c : wide.components) c.step_bytes = 2;
  std::vector<uint8_t> y(2), u(2), v(2);
  Planes three;
  three.first = {y.data(), u.data(), v.data(), nullptr};
  const std::vector<uint8_t> white{255, 255, 255};
  PixelConverter(wide, 1, 1).convert(white.data(), three);
  CHECK((y[0] | y[1] << 8) == 940);
  CHECK((u[0] | u[1] << 8) == 512);
}

}  // namespace
}  // namespace t2v::media
