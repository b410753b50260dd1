// Videos [T, H, W, C] inside a larger poisoned buffer, for the tests that run kernels on the host.
#pragma once

#include <vector>

#include "host_matrix.h"
#include "t2v/kernels/video_shape.h"

namespace t2v::kernels {

// How a video lies in its buffer.
enum class Place {
  kDense,
  kBordered,     // inside a border of one pixel
  kEverySecond,  // every second pixel of every second row
  kOddOffset,    // dense, one element behind an aligned address
  kOddPixels,    // one element between pixels
};

constexpr Place kPlaces[] = {Place::kDense, Place::kBordered, Place::kEverySecond,
                             Place::kOddOffset, Place::kOddPixels};

class HostVideo {
 public:
  HostVideo(DType dtype, const VideoSize& size, Place place)
      : size_(size),
        strides_(strides_of(size, place)),
        first_(place == Place::kBordered ? strides_.row + strides_.pixel : 0),
        memory_(dtype, 1, (size.frames + 1) * frame_span(), 0, place == Place::kOddOffset ? 1 : 0) {
  }

  [[nodiscard]] const VideoSize& size() const { return size_; }
  [[nodiscard]] const VideoStrides& strides() const { return strides_; }
  [[nodiscard]] DType dtype() const { return memory_.dtype(); }
  [[nodiscard]] std::int64_t num_pixels() const {
    return size_.frames * size_.height * size_.width;
  }
  void* data() {
    return static_cast<unsigned char*>(memory_.data()) + first_ * element_bytes(dtype());
  }

  double get(std::int64_t pixel, std::int64_t channel) const {
    return memory_.get(0, at(pixel) + channel);
  }
  void set(std::int64_t pixel, std::int64_t channel, float value) {
    memory_.set(0, at(pixel) + channel, value);
  }
  void fill_normal(unsigned seed, float deviation = 1.0F) {
    std::mt19937 engine(seed);
    std::normal_distribution<float> normal(0.0F, deviation);
    for (std::int64_t p = 0; p < num_pixels(); ++p) {
      for (std::int64_t c = 0; c < size_.channels; ++c) set(p, c, normal(engine));
    }
  }

  // Nothing was written around the pixels.
  [[nodiscard]] bool surroundings_intact() const {
    std::vector<bool> inside(static_cast<std::size_t>(memory_.columns()));
    for (std::int64_t p = 0; p < num_pixels(); ++p) {
      for (std::int64_t c = 0; c < size_.channels; ++c)
        inside[static_cast<std::size_t>(at(p) + c)] = true;
    }
    for (std::int64_t i = 0; i < memory_.columns(); ++i) {
      if (!inside[static_cast<std::size_t>(i)] && !std::isnan(memory_.get(0, i))) return false;
    }
    return memory_.surroundings_intact();
  }

 private:
  static VideoStrides strides_of(const VideoSize& size, Place place) {
    VideoStrides strides;
    strides.pixel = size.channels;
    if (place == Place::kEverySecond) strides.pixel *= 2;
    if (place == Place::kOddPixels) strides.pixel += 1;
    strides.row = strides.pixel * (size.width + (place == Place::kBordered ? 2 : 0));
    if (place == Place::kEverySecond) strides.row *= 2;
    strides.frame = strides.row * (size.height + (place == Place::kBordered ? 2 : 0));
    return strides;
  }
  [[nodiscard]] std::int64_t frame_span() const { return strides_.frame; }
  // Counted frame by frame, row by row: not by the kernel's arithmetic.
  [[nodiscard]] std::int64_t at(std::int64_t pixel) const {
    const std::int64_t column = pixel % size_.width;
    const std::int64_t line = (pixel - column) / size_.width;
    return first_ + line / size_.height * strides_.frame + line % size_.height * strides_.row +
           column * strides_.pixel;
  }

  VideoSize size_;
  VideoStrides strides_;
  std::int64_t first_;
  HostMatrix memory_;
};

}  // namespace t2v::kernels
