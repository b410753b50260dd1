// Names of tensors: framework style (diffusers, transformers) <-> canonical (native Wan).
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace t2v::weights {

enum class ModelPart { kTransformer, kTextEncoder, kVae };

// Canonical name of one tensor; canonical and unknown names come back unchanged. The VAE's
// canonical names are those of diffusers.
std::string canonical_name(ModelPart part, std::string_view name);

// Framework-style name of a canonical one; unknown names come back unchanged.
std::string framework_name(ModelPart part, std::string_view canonical);

// Wrapper prefixes (`model.diffusion_model.`, `_orig_mod.` ...) removed from all names when most
// of them carry it. Same order as `names`.
std::vector<std::string> strip_prefixes(const std::vector<std::string>& names);

}  // namespace t2v::weights
