// The memory that the VAE's encoder takes, for plans and before `t2v encode` begins.
#pragma once

#include <cstdint>

#include "pipeline/residency.h"

namespace t2v::pipeline {

// Where the encoder runs: weights, caches, work; none when nothing is encoded.
int64_t encoder_bytes(const PlanInput& input);

// Refuses pictures of this size (px) that do not fit. Throws Error{kOutOfMemory}.
void require_encode_fit(const Model& model, const Compute& compute, const Budgets& budgets,
                        int64_t width, int64_t height);

// The encoder's part of a plan's input.
void plan_encode(const Model& model, const Compute& compute, PlanInput& input);

}  // namespace t2v::pipeline
