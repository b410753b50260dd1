// UMT5 text encoder: token ids -> text embeddings. Weights are read block by block while it runs
// and given up behind it, so its memory is a few blocks whatever the model's size.
#pragma once

#include <ATen/core/Tensor.h>

#include <functional>
#include <vector>

#include "models/spec.h"
#include "weights/weight_map.h"
#include "weights/weight_stream.h"

namespace t2v::models::umt5 {

class Encoder {
 public:
  // Checks all names and shapes; reads nothing. Throws Error{kModel}.
  Encoder(const TextEncoderSpec& spec, weights::WeightMap map, at::ScalarType dtype,
          at::Device device);

  static weights::Expectations expectations(const TextEncoderSpec& spec);

  // One pass over the weights for all prompts. ids: token ids of each prompt with the closing </s>,
  // without padding (padding is masked in the definition and changes nothing). Returns fp32 [n, C]
  // for each. after_block(done, total) is called between blocks and may throw to stop. The files
  // are read ahead by `stream`.
  // Throws Error{kModel} for ids outside the vocabulary.
  [[nodiscard]] std::vector<at::Tensor> encode(
      const std::vector<std::vector<int64_t>>& ids, const weights::StreamOptions& stream,
      const std::function<void(int64_t, int64_t)>& after_block);

  // Of the blocks read so far.
  [[nodiscard]] const weights::StreamCounts& counts() const noexcept { return counts_; }

  [[nodiscard]] const weights::WeightMap& weights() const noexcept { return map_; }

 private:
  TextEncoderSpec spec_;
  weights::WeightMap map_;
  at::ScalarType dtype_;
  at::Device device_;
  weights::StreamCounts counts_;
};

}  // namespace t2v::models::umt5
