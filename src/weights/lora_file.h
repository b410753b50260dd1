// One LoRA file: its tensors sorted out by weight, checked, and read.
#pragma once

#include <ATen/core/Tensor.h>

#include <string>
#include <utility>
#include <vector>

#include "weights/checkpoint.h"
#include "weights/lora.h"
#include "weights/lora_names.h"

namespace t2v::weights {

// What one file holds for one weight: factors, a full delta, or both.
struct LoraDelta {
  at::Tensor down, up;          // as stored, [r, in] and [out, r]; undefined: none
  at::Tensor full;              // as stored, in the target's shape; undefined: none
  double low_rank_scale = 1.0;  // alpha / r
};

struct LoraContent {
  std::vector<std::pair<const LoraTarget*, LoraDelta>> deltas;  // one a target
  std::vector<std::string> warnings;
};

// Throws one Error{kModel} that lists all offenders; when lenient, only for unsupported methods.
LoraContent read_lora_file(const Storage& storage, const Checkpoint& file, const LoraNames& names,
                           LoraOptions options);

}  // namespace t2v::weights
