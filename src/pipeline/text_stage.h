// Prompt -> token ids -> text embeddings, with the text encoder in memory only while it runs.
#pragma once

#include <ATen/core/Tensor.h>

#include <optional>
#include <string>
#include <vector>

#include "pipeline/condition_cache.h"
#include "pipeline/model.h"
#include "pipeline/run.h"
#include "weights/weight_stream.h"

namespace t2v::pipeline {

// fp32 [n, C] in host memory: one row per token; rows n..text_len are zero and are not stored.
struct TextEmbedding {
  at::Tensor rows;
  std::string key;         // the prompt's name in the condition cache
  bool truncated = false;  // it was longer than the model takes
};

// A prompt and what messages and --dump call it.
struct NamedPrompt {
  std::string text;
  std::string name;       // "prompt"
  std::string dump_name;  // "prompt"; "": not in the dump
};

// Only prompts that the cache does not know run through the encoder, each text once. stream: how
// its weights are read. In the order of the prompts.
std::vector<TextEmbedding> run_text_stage(const Model& model,
                                          const std::vector<NamedPrompt>& prompts,
                                          ConditionCache& cache,
                                          const weights::StreamOptions& stream, Run& run);

// Of one video.
struct TextEmbeddings {
  TextEmbedding cond;
  std::optional<TextEmbedding> uncond;  // absent when no step is guided
};

// A warning of the run for each prompt that was cut off. name: "prompt".
void warn_of_cut(const TextEmbedding& text, const std::string& name, int64_t text_len, Run& run);
void warn_of_cut(const TextEmbeddings& text, int64_t text_len, Run& run);

}  // namespace t2v::pipeline
