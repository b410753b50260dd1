// What encoding takes of memory, computed from sizes alone: for the memory plan, before anything is
// read.
#pragma once

#include <c10/core/DeviceType.h>
#include <c10/core/ScalarType.h>

#include <cstdint>

#include "models/vae/spec.h"

namespace t2v::models::vae {

struct EncodeJob {
  int64_t height = 0;  // px
  int64_t width = 0;
  at::ScalarType dtype = at::kFloat;  // of the encoder (encoder_dtype)
  c10::DeviceType device = c10::DeviceType::CPU;
};

// Caches, work buffers, the temporaries of the layers and of frames on their way in, where the
// network runs; the same for any number of frames from five on. Without weights.
int64_t encode_work_bytes(const VaeSpec& spec, const EncodeJob& job);
// Its weights, plain.
int64_t encoder_weight_bytes(const VaeSpec& spec, at::ScalarType dtype);

}  // namespace t2v::models::vae
