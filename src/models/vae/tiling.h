// Decoding a video in tiles of its picture, one after the other, each over all frames: what a
// decoder remembers shrinks to one tile's share. Tiles overlap and are blended.
#pragma once

#include <cstdint>
#include <vector>

namespace t2v::models::vae {

// How many tiles the picture is cut into; 1 x 1 is not tiled.
struct Tiling {
  int64_t rows = 1;
  int64_t columns = 1;
  [[nodiscard]] bool is_tiled() const { return rows * columns > 1; }
  bool operator==(const Tiling&) const = default;
};

// Latent pixels that neighbours have in common at least (64 px for the published VAEs): the mirror
// of what a tile cannot see beyond its edge fades out over them.
constexpr int64_t kTileOverlap = 8;
// Smaller tiles are mostly overlap.
constexpr int64_t kMinTileExtent = 24;

// A tile's place along one side, in latent pixels.
struct TileSpan {
  int64_t begin = 0;
  int64_t extent = 0;
};

// The most tiles along a side.
int64_t max_tiles(int64_t extent);
// Of `count` tiles, all equally large.
int64_t tile_extent(int64_t extent, int64_t count);
// Evenly spread, from edge to edge.
std::vector<TileSpan> tile_spans(int64_t extent, int64_t count);
// What each pixel of each tile counts in the picture: linear ramps towards inner edges, all of a
// pixel's weights together 1. scale: pixels per latent pixel.
std::vector<std::vector<float>> tile_weights(const std::vector<TileSpan>& spans, int64_t scale);

// The tiling for --vae-tiling on: tiles of at most 32 x 32 latent pixels.
Tiling small_tiles(int64_t height, int64_t width);

}  // namespace t2v::models::vae
