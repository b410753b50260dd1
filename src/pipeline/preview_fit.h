// Linear factors of a VAE that no table is known for: made with its own encoder.
#pragma once

#include "models/vae/encoder.h"
#include "pipeline/preview_factors.h"
#include "pipeline/run.h"

namespace t2v::pipeline {

// Encodes clips of smooth random colours, always the same; the factors are the least squares
// between their latents and the mean colours of what each latent pixel stands for. A stage of the
// run. Throws Error{kCancelled, kNumeric}.
PreviewFactors fit_preview_factors(const models::vae::Encoder& encoder, Run& run);

}  // namespace t2v::pipeline
