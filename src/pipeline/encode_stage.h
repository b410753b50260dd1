// Frames -> latents: the VAE's encoder as stages of a run.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>
#include <vector>

#include "models/vae/encoder.h"
#include "pipeline/model.h"
#include "pipeline/run.h"
#include "t2v/frame_source.h"

namespace t2v::pipeline {

// The encoder's weights come in, as a stage of the run. Throws Error{kModel}.
models::vae::Encoder load_encoder(const Model& model, Run& run);

// RGB bytes, height x width x 3 -> fp32 [3, 1, H, W] in [-1, 1]: v / 127.5 - 1.
at::Tensor frame_tensor(const std::vector<uint8_t>& rgb, int64_t height, int64_t width);

// frame(i): fp32 [3, 1, H, W]; num_frames: 1 more than a multiple of the temporal factor. Returns
// latents as the denoiser has them (unit variance), fp32 [z, T, h, w], in host memory.
// Throws Error{kCancelled}.
at::Tensor encode_frames(const models::vae::Encoder& encoder, int64_t num_frames,
                         const std::function<at::Tensor(int64_t)>& frame, Run& run);

// A whole source. Throws Error{kInput} with the nearest sizes or lengths that the VAE takes.
at::Tensor encode_source(const models::vae::Encoder& encoder, FrameSource& source, Run& run);

// What is said of size and length (as far as it is known) before anything is read. Throws
// Error{kInput}.
void require_source_fits(const SourceFormat& format, const models::vae::VaeSpec& spec);

}  // namespace t2v::pipeline
