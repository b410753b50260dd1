// Final latents -> frames -> sink, chunk by chunk: earlier frames are encoded while later ones
// decode. In tiles, all frames come at the end.
#pragma once

#include <ATen/core/Tensor.h>

#include "models/vae/decoder.h"
#include "models/vae/tiling.h"
#include "pipeline/model.h"
#include "pipeline/run.h"
#include "t2v/frame_sink.h"

namespace t2v::pipeline {

// The decoder's weights come in, as a stage of the run. Throws Error{kModel}.
models::vae::Decoder load_decoder(const Model& model, Run& run);

// latents fp32 [C, T, h, w], model space. sink may be null (then the frames only go to the dump).
// On any error the sink is aborted. Throws Error{kOutput, kNumeric, kCancelled, kModel}.
void run_decode_stage(const models::vae::Decoder& decoder, const at::Tensor& latents,
                      const models::vae::Tiling& tiling, const VideoFormat& format, FrameSink* sink,
                      Run& run);

}  // namespace t2v::pipeline
