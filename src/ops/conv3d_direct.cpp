#include "ops/conv3d_direct.h"

#include <ATen/Parallel.h>
#include <ATen/ops/empty.h>

#include <algorithm>
#include <atomic>

#include "core/check.h"
#include "ops/conv3d_loops.h"

namespace t2v::ops::direct {
namespace {

constexpr int64_t kMaxTileWidth = 48;
constexpr int64_t kMaxTileHeight = 16;
constexpr int64_t kTileBytes =
    384 * 1024;  // of input: with the weights of a group within a 1 MB L2
constexpr int64_t kWinogradParts = 4;
constexpr int64_t kMaxRuns = 64;

int64_t divide_up(int64_t a, int64_t b) { return (a + b - 1) / b; }

// Where a tile of the output lies.
struct Tile {
  int64_t frame, y, x, height, width;
};

// How the output is cut: pieces of equal size, the last ones perhaps smaller.
struct Tiling {
  OutputSize size;
  int64_t frame_step = 1, height = 0, width = 0;  // of one tile
  int64_t frames = 0, rows = 0, columns = 0;      // numbers of tiles

  [[nodiscard]] int64_t count() const { return frames * rows * columns; }
  [[nodiscard]] Tile at(int64_t index) const {
    const int64_t column = index % columns, row = index / columns % rows,
                  frame = index / columns / rows;
    return {.frame = frame * frame_step,
            .y = row * height,
            .x = column * width,
            .height = std::min(height, size.height - row * height),
            .width = std::min(width, size.width - column * width)};
  }
};

Tiling cut(const PackedWeights& weights, const OutputSize& size, bool winograd) {
  Tiling tiling{.size = size, .frame_step = winograd ? 2 : 1};
  tiling.frames = size.frames / tiling.frame_step;
  tiling.width = divide_up(size.width, divide_up(size.width, kMaxTileWidth));
  tiling.columns = divide_up(size.width, tiling.width);
  const int64_t parts = winograd ? kWinogradParts : weights.kernel_frames;
  const int64_t row_bytes = parts * (tiling.width + weights.kernel_width - 1) *
                            weights.in_channels * (weights.is_bf16 ? 2 : 4);
  const int64_t fitting =
      std::clamp<int64_t>(kTileBytes / row_bytes - weights.kernel_height + 1, 2, kMaxTileHeight);
  tiling.height = divide_up(size.height, divide_up(size.height, fitting));
  tiling.rows = divide_up(size.height, tiling.height);
  return tiling;
}

// Everything that the loops over one convolution share.
struct Job {
  const PackedWeights& weights;
  const loops::Functions& functions;
  const VideoView& in;
  const VideoView& out;
  const VideoView* residual;
  int64_t element;  // bytes

  [[nodiscard]] int64_t num_groups() const { return divide_up(weights.out_channels, 32); }
  [[nodiscard]] int64_t group_channels(int64_t group) const {
    return std::min<int64_t>(32, weights.out_channels - group * 32);
  }
  [[nodiscard]] int64_t group_width(int64_t group) const {
    return group_channels(group) > 16 ? 32 : 16;
  }
  // Of one part (tap in time) of one group, in 4-byte units; all groups but the last are 32 wide.
  [[nodiscard]] int64_t row_steps() const {
    return weights.kernel_width * weights.in_channels * element / 4;
  }
  [[nodiscard]] int64_t part_size(int64_t group) const {
    return weights.kernel_height * row_steps() * group_width(group);
  }
};

char* pixel_at(const VideoView& video, int64_t frame, int64_t y, int64_t x) {
  const int64_t offset = frame * video.frame + y * video.row + x * video.pixel;
  return static_cast<char*>(video.data) + offset * (video.is_bf16 ? 2 : 4);
}

// Adds bias and residual to sums [width][group width] of one row and stores them.
void finish_row(const Job& job, int64_t group, const float* sums, const Tile& row) {
  loops::Finish finish{.sums = sums,
                       .sums_stride = job.group_width(group),
                       .bias = job.weights.bias.const_data_ptr<float>() + group * 32,
                       .channels = job.group_channels(group),
                       .pixels = row.width};
  finish.out = pixel_at(job.out, row.frame, row.y, row.x) + group * 32 * (job.out.is_bf16 ? 2 : 4);
  finish.out_stride = job.out.pixel;
  if (job.residual) {
    finish.residual = pixel_at(*job.residual, row.frame, row.y, row.x) +
                      group * 32 * (job.residual->is_bf16 ? 2 : 4);
    finish.residual_stride = job.residual->pixel;
  }
  (job.out.is_bf16 ? job.functions.finish_bf16 : job.functions.finish_fp32)(finish);
}

// Products of one row of the tile: sums [width][group width] over the given runs, whose pointers
// are those of the row's first pixel.
void multiply_row(const Job& job, int64_t group, loops::Product product, int64_t width) {
  const bool wide = job.group_width(group) == 32;
  const int64_t most = wide ? loops::kMaxPixelsWide : loops::kMaxPixelsNarrow;
  const int64_t blocks = divide_up(width, most);
  const char* moved[kMaxRuns];
  const char* const* first = product.runs;
  float* const sums = product.sums;
  for (int64_t block = 0; block < blocks; ++block) {
    const int64_t begin = width * block / blocks, end = width * (block + 1) / blocks;
    for (int64_t run = 0; run < product.num_runs; ++run)
      moved[run] = first[run] + begin * product.pixel_bytes;
    product.runs = moved;
    product.sums = sums + begin * job.group_width(group);
    (wide ? job.functions.wide : job.functions.narrow)[end - begin](product);
  }
}

void run_plain_tile(const Job& job, const Tile& tile, float* sums) {
  const PackedWeights& w = job.weights;
  const char* runs[kMaxRuns];
  const char* packed = static_cast<const char*>(w.plain.const_data_ptr());
  for (int64_t group = 0; group < job.num_groups(); ++group) {
    for (int64_t y = 0; y < tile.height; ++y) {
      for (int64_t run = 0; run < w.kernel_frames * w.kernel_height; ++run)
        runs[run] = pixel_at(job.in, tile.frame + run / w.kernel_height,
                             tile.y + y + run % w.kernel_height, tile.x);
      multiply_row(job, group,
                   {.runs = runs,
                    .num_runs = w.kernel_frames * w.kernel_height,
                    .steps = job.row_steps(),
                    .pixel_bytes = w.in_channels * job.element,
                    .weights = packed,
                    .sums = sums},
                   tile.width);
      finish_row(
          job, group, sums,
          {.frame = tile.frame, .y = tile.y + y, .x = tile.x, .height = 1, .width = tile.width});
    }
    packed += w.kernel_frames * job.part_size(group) * 4;
  }
}

// Scratch of one thread for the Winograd form.
struct WinogradScratch {
  char* parts;  // [4][rows + kh - 1][columns + kw - 1][C] in the weights' type
  float* sums;  // [4][rows][columns][32]
};

// d0..d3, four frames of input around the tile -> d0-d2, d1+d2, d2-d1, d1-d3.
void transform_tile(const Job& job, const Tile& tile, char* parts) {
  const int64_t rows = tile.height + job.weights.kernel_height - 1;
  const int64_t count = (tile.width + job.weights.kernel_width - 1) * job.weights.in_channels;
  for (int64_t y = 0; y < rows; ++y) {
    loops::Transform transform{.count = count};
    for (int64_t i = 0; i < kWinogradParts; ++i) {
      transform.from[i] = pixel_at(job.in, tile.frame + i, tile.y + y, tile.x);
      transform.to[i] = parts + (i * rows + y) * count * job.element;
    }
    job.functions.transform(transform);
  }
}

void run_winograd_tile(const Job& job, const Tile& tile, const WinogradScratch& scratch) {
  const PackedWeights& w = job.weights;
  const int64_t rows = tile.height + w.kernel_height - 1;
  const int64_t row_bytes = (tile.width + w.kernel_width - 1) * w.in_channels * job.element;
  const int64_t part_sums = tile.height * tile.width * 32;
  const char* runs[kMaxRuns];
  const char* packed = static_cast<const char*>(w.winograd.const_data_ptr());
  transform_tile(job, tile, scratch.parts);
  for (int64_t group = 0; group < job.num_groups(); ++group) {
    const int64_t row_sums = tile.width * job.group_width(group);
    for (int64_t part = 0; part < kWinogradParts; ++part) {
      for (int64_t y = 0; y < tile.height; ++y) {
        for (int64_t run = 0; run < w.kernel_height; ++run)
          runs[run] = scratch.parts + (part * rows + y + run) * row_bytes;
        multiply_row(job, group,
                     {.runs = runs,
                      .num_runs = w.kernel_height,
                      .steps = job.row_steps(),
                      .pixel_bytes = w.in_channels * job.element,
                      .weights = packed,
                      .sums = scratch.sums + part * part_sums + y * row_sums},
                     tile.width);
      }
      packed += job.part_size(group) * 4;
    }
    float* sums = scratch.sums;
    loops::combine(sums, part_sums, tile.height * row_sums);
    for (int64_t frame = 0; frame < 2; ++frame)
      for (int64_t y = 0; y < tile.height; ++y)
        finish_row(job, group, sums + frame * part_sums + y * row_sums,
                   {.frame = tile.frame + frame,
                    .y = tile.y + y,
                    .x = tile.x,
                    .height = 1,
                    .width = tile.width});
  }
}

}  // namespace

bool available(at::ScalarType dtype, int64_t in_channels) {
  if (dtype == at::kBFloat16) return loops::bf16_functions() != nullptr && in_channels % 2 == 0;
  return dtype == at::kFloat && loops::fp32_functions() != nullptr;
}

void run(const PackedWeights& weights, const VideoView& in, const VideoView& out,
         const VideoView* residual, const OutputSize& size) {
  const loops::Functions* functions =
      weights.is_bf16 ? loops::bf16_functions() : loops::fp32_functions();
  T2V_ASSERT(functions != nullptr && in.is_bf16 == weights.is_bf16 &&
             in.pixel == weights.in_channels);
  T2V_ASSERT(weights.kernel_frames * weights.kernel_height <= kMaxRuns);
  T2V_ASSERT(residual == nullptr || residual->is_bf16 == out.is_bf16);
  const Job job{.weights = weights,
                .functions = *functions,
                .in = in,
                .out = out,
                .residual = residual,
                .element = weights.is_bf16 ? 2 : 4};
  const bool winograd = weights.winograd.defined() && size.frames % 2 == 0;
  const Tiling tiling = cut(weights, size, winograd);
  const int64_t sums = (winograd ? kWinogradParts * tiling.height : 1) * tiling.width * 32;
  const int64_t parts = winograd ? kWinogradParts * (tiling.height + weights.kernel_height - 1) *
                                       (tiling.width + weights.kernel_width - 1) *
                                       weights.in_channels * job.element
                                 : 0;
  // Threads take tiles as they come: cores are seldom equally free.
  std::atomic<int64_t> next{0};
  const int64_t workers = std::min<int64_t>(at::get_num_threads(), tiling.count());
  at::parallel_for(0, workers, 1, [&](int64_t, int64_t) {
    const at::Tensor memory = at::empty({sums * 4 + parts}, at::kByte);
    auto* const first = static_cast<float*>(memory.data_ptr());
    const WinogradScratch scratch{.parts = reinterpret_cast<char*>(first + sums), .sums = first};
    for (int64_t i = next++; i < tiling.count(); i = next++) {
      if (winograd) {
        run_winograd_tile(job, tiling.at(i), scratch);
      } else {
        run_plain_tile(job, tiling.at(i), scratch.sums);
      }
    }
  });
}

}  // namespace t2v::ops::direct
