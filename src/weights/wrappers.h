// State dicts of a training run inside a file: which of them is meant.
#pragma once

#include "weights/tensor_entry.h"

namespace t2v::weights {

// Metadata key under which a reader tells the name that stood around the tensors it chose:
// "generator_ema" or "generator", as causal checkpoints have it.
constexpr const char* kWrapperKey = "t2v.wrapper";

// Of a flat file whose names all begin with `generator_ema.` or `generator.`: leaves the former
// where there are any, takes the word off and tells it in the metadata. Others stay as they are.
void unwrap(ContainerHeader& header);

}  // namespace t2v::weights
