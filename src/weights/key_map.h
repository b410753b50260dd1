// Names of tensors in a file <-> canonical ones. Canonical are the native Wan names; for the VAE,
// those of diffusers.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "weights/vae_keys.h"

namespace t2v::weights {

enum class ModelPart { kTransformer, kTextEncoder, kVae };

// How a file names the tensors of a part.
enum class KeyStyle {
  kCanonical,
  kFramework,  // diffusers (transformer), transformers (text encoder)
  kGguf,       // llama.cpp's names of a T5 encoder
  kNativeVae,  // Wan2.1_VAE.pth: one flat list of up-sampling layers; Wan2.2_VAE.pth: nested ones
};

// The names of one file (or of all shards together) by one rule: prefixes that most names carry are
// removed, then the style that fits is translated. Unknown names stay as they are.
class KeyMap {
 public:
  KeyMap(ModelPart part, const std::vector<std::string>& names);

  // Same order as `names`.
  [[nodiscard]] const std::vector<std::string>& canonical() const noexcept { return canonical_; }
  [[nodiscard]] KeyStyle style() const noexcept { return style_; }
  // How this file would name a canonical tensor; for tensors that are missing.
  [[nodiscard]] std::string in_file(std::string_view canonical) const;

 private:
  ModelPart part_;
  KeyStyle style_ = KeyStyle::kCanonical;
  std::string prefix_;  // that was removed
  NativeVaeShape vae_;  // kNativeVae
  std::vector<std::string> canonical_;
};

// Canonical name of one tensor; canonical and unknown names come back unchanged. VAE names are
// those of the published structure (three residual blocks per up block).
std::string canonical_name(ModelPart part, std::string_view name);

// Framework-style name of a canonical one; unknown names come back unchanged.
std::string framework_name(ModelPart part, std::string_view canonical);

// Wrapper prefixes (`model.diffusion_model.`, `_orig_mod.` ...) removed from all names when most
// of them carry it. Same order as `names`.
std::vector<std::string> strip_prefixes(const std::vector<std::string>& names);

}  // namespace t2v::weights
