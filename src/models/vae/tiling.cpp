#include "models/vae/tiling.h"

#include <algorithm>

#include "core/check.h"

namespace t2v::models::vae {
namespace {

constexpr int64_t kSmallTile = 32;

int64_t tiles_of(int64_t extent, int64_t largest) {
  int64_t count = 1;
  while (count < max_tiles(extent) && tile_extent(extent, count) > largest) ++count;
  return count;
}

}  // namespace

int64_t max_tiles(int64_t extent) {
  return std::max<int64_t>(1, (extent - kTileOverlap) / (kMinTileExtent - kTileOverlap));
}

int64_t tile_extent(int64_t extent, int64_t count) {
  return (extent + (count - 1) * kTileOverlap + count - 1) / count;
}

std::vector<TileSpan> tile_spans(int64_t extent, int64_t count) {
  T2V_ASSERT(count >= 1 && count <= max_tiles(extent));
  const int64_t tile = tile_extent(extent, count);
  std::vector<TileSpan> spans;
  for (int64_t i = 0; i < count; ++i)
    spans.push_back({.begin = count == 1 ? 0 : i * (extent - tile) / (count - 1), .extent = tile});
  return spans;
}

std::vector<std::vector<float>> tile_weights(const std::vector<TileSpan>& spans, int64_t scale) {
  const int64_t end = (spans.back().begin + spans.back().extent) * scale;
  const auto ramp = static_cast<double>(kTileOverlap * scale);
  std::vector<double> sums(static_cast<size_t>(end), 0.0);
  std::vector<std::vector<double>> raw;
  for (const TileSpan& span : spans) {
    const int64_t extent = span.extent * scale;
    std::vector<double> weights(static_cast<size_t>(extent), 1.0);
    for (int64_t i = 0; i < extent; ++i) {
      double& weight = weights[static_cast<size_t>(i)];
      if (span.begin > 0) weight = std::min(weight, (static_cast<double>(i) + 0.5) / ramp);
      if (span.begin * scale + extent < end)
        weight = std::min(weight, (static_cast<double>(extent - i) - 0.5) / ramp);
      sums[static_cast<size_t>(span.begin * scale + i)] += weight;
    }
    raw.push_back(std::move(weights));
  }
  std::vector<std::vector<float>> all;
  for (size_t t = 0; t < raw.size(); ++t) {
    std::vector<float> weights;
    for (size_t i = 0; i < raw[t].size(); ++i)
      weights.push_back(
          static_cast<float>(raw[t][i] / sums[static_cast<size_t>(spans[t].begin * scale) + i]));
    all.push_back(std::move(weights));
  }
  return all;
}

Tiling small_tiles(int64_t height, int64_t width) {
  return {.rows = tiles_of(height, kSmallTile), .columns = tiles_of(width, kSmallTile)};
}

}  // namespace t2v::models::vae
