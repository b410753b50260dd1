#include "models/vae/decode_bytes.h"

#include <c10/util/accumulate.h>

#include <algorithm>
#include <vector>

#include "models/vae/chunk_layout.h"
#include "models/vae/frame_memory.h"
#include "models/vae/tile_canvas.h"
#include "ops/conv2d.h"

namespace t2v::models::vae {
namespace {

int64_t bytes_of(at::ScalarType dtype) { return static_cast<int64_t>(c10::elementSize(dtype)); }

struct Size {
  int64_t height = 0, width = 0;  // latent pixels
};

int64_t chunk_elements(const VaeSpec& spec, Size size, const DecodeJob& job, NetworkPart part) {
  ChunkLayout layout(1, size.height, size.width, job.dtype, job.device);
  const int64_t mid = spec.mid_channels();
  if (part != NetworkPart::kRest) {
    layout.entry(spec.z_dim, mid);
    layout.resnet(mid, mid);
    layout.resnet(mid, mid);
  }
  if (part == NetworkPart::kEntry) return layout.elements();
  const auto blocks = spec.up_blocks();
  for (const UpBlockSpec& block : blocks) layout.up_block(block, spec.num_res_blocks + 1);
  layout.causal_conv(blocks.back().out_channels(), spec.out_channels);
  return layout.elements();
}

int64_t frame_elements(const VaeSpec& spec, Size size, NetworkPart part) {
  int64_t total = 0;
  for (const FrameBufferShape& buffer : frame_buffers(spec, size.height, size.width, part)) {
    total += c10::multiply_integers(buffer.shape);
  }
  return total;
}

// In the mid block's attention.
int64_t attention_bytes(const VaeSpec& spec, Size size, const DecodeJob& job) {
  const int64_t row = spec.mid_channels() * bytes_of(job.dtype);
  // Normed, q, k, v once packed and (CPU) once apart, the result; on CUDA its sums in fp32.
  return size.height * size.width *
         (job.form == NetworkForm::kChunks ? 8 * row : 5 * row + 4 * spec.mid_channels());
}

// As frames leave: fp32 twice or three times, and bytes.
int64_t leaving_bytes(const VaeSpec& spec, Size size, const DecodeJob& job) {
  const int64_t scale = spec.spatial_factor();
  const int64_t values = spec.temporal_factor() * size.height * size.width * scale * scale * 3;
  return values * (job.form == NetworkForm::kChunks ? 3 * 4 + 1 : 2 * 4 + 1);
}

int64_t part_bytes(const VaeSpec& spec, Size size, const DecodeJob& job, NetworkPart part) {
  const int64_t elements = job.form == NetworkForm::kChunks ? chunk_elements(spec, size, job, part)
                                                            : frame_elements(spec, size, part);
  const int64_t attention = part == NetworkPart::kRest ? 0 : attention_bytes(spec, size, job);
  const int64_t leaving = part == NetworkPart::kEntry ? 0 : leaving_bytes(spec, size, job);
  return elements * bytes_of(job.dtype) + std::max(attention, leaving);
}

int64_t host_bytes(const VaeSpec& spec, const DecodeJob& job, const Tiling& tiling) {
  return decode_work_bytes(spec, job, tiling) +
         (job.form == NetworkForm::kChunks ? decode_canvas_bytes(spec, job, tiling) : 0);
}

// Calls visit for each tiling that the picture's sides allow.
template <typename Visit>
void for_all_tilings(const DecodeJob& job, const Visit& visit) {
  for (int64_t rows = 1; rows <= max_tiles(job.height); ++rows)
    for (int64_t columns = 1; columns <= max_tiles(job.width); ++columns)
      visit(Tiling{.rows = rows, .columns = columns});
}

}  // namespace

int64_t decode_work_bytes(const VaeSpec& spec, const DecodeJob& job, const Tiling& tiling) {
  const Size whole{.height = job.height, .width = job.width};
  if (!tiling.is_tiled()) return part_bytes(spec, whole, job, NetworkPart::kWhole);
  const Size tile{.height = tile_extent(job.height, tiling.rows),
                  .width = tile_extent(job.width, tiling.columns)};
  return std::max(part_bytes(spec, whole, job, NetworkPart::kEntry),
                  part_bytes(spec, tile, job, NetworkPart::kRest));
}

int64_t decode_canvas_bytes(const VaeSpec& spec, const DecodeJob& job, const Tiling& tiling) {
  if (!tiling.is_tiled()) return 0;
  const int64_t scale = spec.spatial_factor();
  return TileCanvas::bytes(spec.num_frames(job.num_latents), job.height * scale,
                           job.width * scale) +
         job.num_latents * job.height * job.width * spec.mid_channels() * bytes_of(job.dtype);
}

int64_t frame_weight_bytes(const VaeSpec& spec, at::ScalarType dtype) {
  const auto product = [](const std::vector<int64_t>& shape) {
    int64_t elements = ops::Conv2d::padded(shape[0]);
    for (size_t i = 1; i < shape.size(); ++i) elements *= shape[i];
    return elements;
  };
  int64_t elements = 0;
  for (const auto& tensor : decoder_tensors(spec).tensors) {
    if (tensor.shape.size() < 4) continue;  // vectors
    const bool causal = tensor.shape.size() == 5 && tensor.shape[2] == 3;
    const bool folded = tensor.shape.size() == 4 && tensor.shape[3] == 3;  // 9 taps as 4 x 4
    elements += product(tensor.shape) * (causal ? 3 : 1) * (folded ? 16 : 1) / (folded ? 9 : 1);
  }
  return elements * bytes_of(dtype);
}

std::optional<Tiling> choose_tiling(const VaeSpec& spec, const DecodeJob& job,
                                    int64_t budget_bytes) {
  std::optional<Tiling> best;
  int64_t least = 0;
  for_all_tilings(job, [&](const Tiling& tiling) {
    const int64_t work = tile_extent(job.height, tiling.rows) * tiling.rows *
                         tile_extent(job.width, tiling.columns) * tiling.columns;
    if (best && work >= least) return;
    if (host_bytes(spec, job, tiling) > budget_bytes) return;
    best = tiling;
    least = work;
  });
  return best;
}

Tiling smallest_tiling(const VaeSpec& spec, const DecodeJob& job) {
  Tiling best;
  for_all_tilings(job, [&](const Tiling& tiling) {
    if (host_bytes(spec, job, tiling) < host_bytes(spec, job, best)) best = tiling;
  });
  return best;
}

}  // namespace t2v::models::vae
