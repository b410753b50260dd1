#include "pipeline/picture_resize.h"

#include <algorithm>
#include <cmath>

#include "core/check.h"

namespace t2v::pipeline {
namespace {

constexpr int kWeightBits = 22;
constexpr double kLobes = 3.0;
constexpr double kPi = 3.14159265358979323846;

double sinc(double x) { return x == 0 ? 1 : std::sin(x * kPi) / (x * kPi); }

double lanczos(double x) { return x >= -kLobes && x < kLobes ? sinc(x) * sinc(x / kLobes) : 0; }

// What one pixel of the result is the sum of.
struct Taps {
  int64_t first = 0;
  std::vector<int32_t> weights;
};

std::vector<Taps> taps_of(int64_t from, int64_t to) {
  const double scale = static_cast<double>(from) / static_cast<double>(to);
  const double stretch = std::max(scale, 1.0);  // of the filter, where there are fewer pixels
  const double support = kLobes * stretch;
  std::vector<Taps> all;
  for (int64_t i = 0; i < to; ++i) {
    const double center = (static_cast<double>(i) + 0.5) * scale;
    const auto first = std::max<int64_t>(static_cast<int64_t>(center - support + 0.5), 0);
    const auto end = std::min<int64_t>(static_cast<int64_t>(center + support + 0.5), from);
    std::vector<double> weights;
    double sum = 0;
    for (int64_t k = first; k < end; ++k) {
      weights.push_back(lanczos((static_cast<double>(k) - center + 0.5) / stretch));
      sum += weights.back();
    }
    Taps taps{.first = first, .weights = {}};
    for (const double weight : weights) {
      const double whole = weight / sum * (1 << kWeightBits);
      taps.weights.push_back(static_cast<int32_t>(whole < 0 ? whole - 0.5 : whole + 0.5));
    }
    all.push_back(std::move(taps));
  }
  return all;
}

uint8_t byte_of(int64_t sum) {
  return static_cast<uint8_t>(std::clamp<int64_t>(sum >> kWeightBits, 0, 255));
}

// Along one side: values of `step` bytes apart.
struct Line {
  const uint8_t* from;
  uint8_t* to;
  int64_t step;
};

void filter_line(const std::vector<Taps>& taps, const Line& line) {
  for (size_t i = 0; i < taps.size(); ++i) {
    int64_t sum = int64_t{1} << (kWeightBits - 1);
    const uint8_t* from = line.from + taps[i].first * line.step;
    for (const int32_t weight : taps[i].weights) {
      sum += *from * static_cast<int64_t>(weight);
      from += line.step;
    }
    line.to[static_cast<int64_t>(i) * line.step] = byte_of(sum);
  }
}

Picture blank(int64_t width, int64_t height) {
  return {.width = width,
          .height = height,
          .rgb = std::vector<uint8_t>(static_cast<size_t>(width * height * 3))};
}

}  // namespace

Picture resize_picture(const Picture& picture, int64_t width, int64_t height) {
  T2V_ASSERT(width > 0 && height > 0 && picture.width > 0 && picture.height > 0 &&
             picture.rgb.size() == static_cast<size_t>(picture.width * picture.height * 3));
  Picture wide = picture;
  if (width != picture.width) {
    wide = blank(width, picture.height);
    const auto taps = taps_of(picture.width, width);
    for (int64_t y = 0; y < picture.height; ++y)
      for (int64_t c = 0; c < 3; ++c)
        filter_line(taps, {.from = picture.rgb.data() + y * picture.width * 3 + c,
                           .to = wide.rgb.data() + y * width * 3 + c,
                           .step = 3});
  }
  if (height == picture.height) return wide;
  Picture out = blank(width, height);
  const auto taps = taps_of(picture.height, height);
  for (int64_t x = 0; x < width * 3; ++x)
    filter_line(taps, {.from = wide.rgb.data() + x, .to = out.rgb.data() + x, .step = width * 3});
  return out;
}

}  // namespace t2v::pipeline
