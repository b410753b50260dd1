#include "media/gif_palette.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace t2v::media {
namespace {

constexpr size_t kCells = 1 << 18;  // 6 bits a channel
constexpr size_t kCacheSlots = 1 << 18;

uint32_t packed(const uint8_t* rgb) {
  return static_cast<uint32_t>(rgb[0]) << 16 | static_cast<uint32_t>(rgb[1]) << 8 | rgb[2];
}

size_t cell_of(uint32_t colour) {
  return (colour >> 18 & 63) << 12 | (colour >> 10 & 63) << 6 | (colour >> 2 & 63);
}

}  // namespace

// A run of cell indices; `spread` is the sum of squared distances to the mean along its widest
// channel.
struct GifPalette::Box {
  size_t first = 0, last = 0;
  int widest = 0;
  double spread = 0;
  double pixels = 0;
  std::array<double, 3> mean{};
};

GifPalette::GifPalette() : cells_(kCells), cache_keys_(kCacheSlots), cache_values_(kCacheSlots) {}

void GifPalette::count(const uint8_t* rgb, int64_t num_pixels) {
  for (int64_t i = 0; i < num_pixels; ++i, rgb += 3) {
    const uint32_t colour = packed(rgb);
    Cell& cell = cells_[cell_of(colour)];
    ++cell.pixels;
    for (size_t c = 0; c < 3; ++c) cell.sums[c] += rgb[c];
    if (!few_colours_ || colour == last_) continue;
    last_ = colour;
    const auto place = std::lower_bound(exact_.begin(), exact_.end(), colour);
    if (place != exact_.end() && *place == colour) continue;
    few_colours_ = exact_.size() < kMaxColours;
    if (few_colours_) exact_.insert(place, colour);
  }
}

void GifPalette::choose() {
  colours_.clear();
  if (few_colours_) {
    for (const uint32_t colour : exact_) {
      colours_.push_back({static_cast<uint8_t>(colour >> 16),
                          static_cast<uint8_t>(colour >> 8 & 255),
                          static_cast<uint8_t>(colour & 255)});
    }
  } else {
    cut();
  }
  if (colours_.empty()) colours_.push_back({0, 0, 0});
  cells_.clear();
  cells_.shrink_to_fit();
}

// Splits the box of the largest spread at its mean until there are enough boxes.
void GifPalette::cut() {
  std::vector<size_t> used;
  for (size_t i = 0; i < cells_.size(); ++i) {
    if (cells_[i].pixels > 0) used.push_back(i);
  }
  const auto mean_of = [&](size_t cell, size_t channel) {
    return static_cast<double>(cells_[cell].sums[channel]) /
           static_cast<double>(cells_[cell].pixels);
  };
  const auto measured = [&](size_t first, size_t last) {
    Box box{.first = first, .last = last};
    std::array<double, 3> squares{};
    for (size_t i = first; i < last; ++i) {
      const auto weight = static_cast<double>(cells_[used[i]].pixels);
      box.pixels += weight;
      for (size_t c = 0; c < 3; ++c) {
        const double value = mean_of(used[i], c);
        box.mean[c] += weight * value;
        squares[c] += weight * value * value;
      }
    }
    for (size_t c = 0; c < 3; ++c) {
      box.mean[c] /= box.pixels;
      const double spread = squares[c] - box.pixels * box.mean[c] * box.mean[c];
      if (last - first > 1 && spread > box.spread) {
        box.spread = spread;
        box.widest = static_cast<int>(c);
      }
    }
    return box;
  };
  std::vector<Box> boxes{measured(0, used.size())};
  while (boxes.size() < kMaxColours) {
    const auto worst = std::max_element(
        boxes.begin(), boxes.end(), [](const Box& a, const Box& b) { return a.spread < b.spread; });
    if (worst->spread <= 1e-6) break;
    const Box box = *worst;
    const auto channel = static_cast<size_t>(box.widest);
    const auto begin = used.begin() + static_cast<ptrdiff_t>(box.first);
    const auto end = used.begin() + static_cast<ptrdiff_t>(box.last);
    const auto middle = std::stable_partition(
        begin, end, [&](size_t cell) { return mean_of(cell, channel) <= box.mean[channel]; });
    if (middle == begin || middle == end) {  // rounding of the mean: nothing to split
      worst->spread = 0;
      continue;
    }
    const auto split = static_cast<size_t>(middle - used.begin());
    *worst = measured(box.first, split);
    boxes.push_back(measured(split, box.last));
  }
  for (const Box& box : boxes) {
    Rgb colour{};
    for (size_t c = 0; c < 3; ++c) colour[c] = static_cast<uint8_t>(std::lround(box.mean[c]));
    colours_.push_back(colour);
  }
}

uint8_t GifPalette::nearest(const uint8_t* rgb) {
  const uint32_t colour = packed(rgb);
  const size_t slot = (colour * 2654435761U) >> 14;  // multiplicative hashing to 18 bits
  if (cache_keys_[slot] == colour + 1) return cache_values_[slot];
  int best = std::numeric_limits<int>::max();
  size_t found = 0;
  for (size_t i = 0; i < colours_.size() && best > 0; ++i) {
    const int r = colours_[i][0] - rgb[0];
    const int g = colours_[i][1] - rgb[1];
    const int b = colours_[i][2] - rgb[2];
    const int distance = r * r + g * g + b * b;
    if (distance < best) {
      best = distance;
      found = i;
    }
  }
  cache_keys_[slot] = colour + 1;
  cache_values_[slot] = static_cast<uint8_t>(found);
  return cache_values_[slot];
}

}  // namespace t2v::media
