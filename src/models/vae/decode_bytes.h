// What decoding takes of memory, computed from sizes alone: for the memory plan, before anything is
// read.
#pragma once

#include <c10/core/ScalarType.h>

#include <cstdint>
#include <optional>

#include "models/vae/decoder.h"
#include "models/vae/spec.h"
#include "models/vae/tiling.h"

namespace t2v::models::vae {

struct DecodeJob {
  int64_t num_latents = 0;  // latent frames
  int64_t height = 0;       // latent pixels
  int64_t width = 0;
  at::ScalarType dtype = at::kFloat;  // of the decoder (decoder_dtype)
  NetworkForm form = NetworkForm::kChunks;
  c10::DeviceType device = c10::DeviceType::CPU;
};

// Caches, work buffers and the temporaries of the layers and of frames on their way out, where the
// network runs. Without weights, and without workspace of cuDNN, which takes what is left and makes
// do with less.
int64_t decode_work_bytes(const VaeSpec& spec, const DecodeJob& job, const Tiling& tiling);

// The host memory in which tiles come together, and the mid block's features of all latent frames;
// 0 where there is only one tile.
int64_t decode_canvas_bytes(const VaeSpec& spec, const DecodeJob& job, const Tiling& tiling);

// The weights of form kFrames, which has three copies of most. (kChunks packs them: measured.)
int64_t frame_weight_bytes(const VaeSpec& spec, at::ScalarType dtype);

// The tiling with the least work whose decode_work_bytes (and canvas, where both are host memory:
// form kChunks) fit the budget; absent when none does.
std::optional<Tiling> choose_tiling(const VaeSpec& spec, const DecodeJob& job,
                                    int64_t budget_bytes);
// The one that needs the least memory.
Tiling smallest_tiling(const VaeSpec& spec, const DecodeJob& job);

}  // namespace t2v::models::vae
