// What a file of tensors is, told by the names in it.
#pragma once

#include <string>
#include <vector>

#include "weights/key_map.h"

namespace t2v::weights {

enum class FileKind { kTransformer, kTextEncoder, kVae, kImageEncoder, kLora, kOther };

// Wan transformer, UMT5 encoder, Wan VAE, CLIP image encoder, LoRA; anything else is kOther, also
// other models' transformers, encoders and VAEs.
FileKind kind_of(const std::vector<std::string>& names);

// "a transformer", "a UMT5 text encoder", ...
const char* describe(FileKind kind) noexcept;

// The part whose names the file uses; kOther and the like: those of the transformer.
ModelPart part_of(FileKind kind) noexcept;

}  // namespace t2v::weights
