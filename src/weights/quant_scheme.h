// Which tensors of a checkpoint are quantised, by which scheme, and which ones only accompany them.
#pragma once

#include <cstdint>
#include <map>
#include <set>
#include <string>

#include "weights/checkpoint.h"

namespace t2v::weights {

struct QuantisedLinear {
  const TensorEntry* weight = nullptr;  // of the checkpoint
  const TensorEntry* scale = nullptr;   // fp32; nullptr: 1, or none needed (GGML blocks)
  bool block_scale = false;             // one scale for each 128 x 128 block, else one or [N]
  int64_t rotation = 0;                 // group of the regular Hadamard matrix, 0: none
  std::string scheme;                   // "int8 row", "int8 block", "fp8 scaled", "Q4_K", ...
};

struct SchemeTable {
  // By the logical name in the file: "X.weight", also when the file says "X.int8_weight".
  std::map<std::string, QuantisedLinear> linears;
  // Scales, markers, calibration: no weights of their own.
  std::set<std::string> companions;
  std::string summary;  // for people, most bytes first: "fp8 scaled + BF16 + F32"
};

// Reads headers and the small `comfy_quant` tensors. The table points into the checkpoint. Throws
// Error{kind of the checkpoint} naming file and tensor when a scale has a wrong shape or dtype, a
// weight has none, or the scheme is not read (mxfp8, nvfp4, bitsandbytes).
SchemeTable find_schemes(const Checkpoint& checkpoint);

}  // namespace t2v::weights
