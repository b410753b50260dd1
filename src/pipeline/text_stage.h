// Prompt -> token ids -> text embeddings, with the text encoder in memory only while it runs.
#pragma once

#include <ATen/core/Tensor.h>

#include <optional>

#include "pipeline/model.h"
#include "pipeline/run.h"
#include "t2v/request.h"
#include "weights/weight_stream.h"

namespace t2v::pipeline {

// fp32 [n, C] on the device of the denoising: one row per token; rows n..text_len are zero and are
// not stored.
struct TextEmbeddings {
  at::Tensor cond;
  at::Tensor uncond;  // undefined when no step is guided
};

// stream: how the encoder's weights are read.
TextEmbeddings run_text_stage(const Model& model, const Recipe& recipe, bool with_uncond,
                              const weights::StreamOptions& stream, Run& run);

}  // namespace t2v::pipeline
