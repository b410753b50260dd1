#include "weights/file_kind.h"

#include <algorithm>
#include <string_view>

namespace t2v::weights {
namespace {

using Names = std::vector<std::string>;

template <typename Test>
bool any(const Names& names, Test test) {
  return std::any_of(names.begin(), names.end(), test);
}

bool holds(std::string_view name, std::string_view part) {
  return name.find(part) != std::string_view::npos;
}

bool is_lora_name(std::string_view name) {
  return name.starts_with("lora_") || holds(name, ".lora_") || holds(name, "_lora.") ||
         holds(name, ".lora.") || name.ends_with(".diff") || name.ends_with(".diff_b");
}

// Broken files should still be told: single names suffice.
bool is_transformer_name(std::string_view name) {
  return name.starts_with("blocks.") && (holds(name, ".self_attn.") || holds(name, ".cross_attn."));
}

bool is_vae_name(std::string_view name) {  // only Wan's has RMS norms called gamma
  return name.starts_with("decoder.") && name.ends_with(".gamma");
}

// UMT5 has its own table of positions in each block, T5 in the first one only.
bool is_umt5(const Names& canonical) {
  constexpr std::string_view kTable = "pos_embedding.embedding.weight";
  const auto in_block = [&](const std::string& block) {
    return any(canonical, [&](const std::string& name) { return name.starts_with(block); });
  };
  const auto has_table = [&](const std::string& block) {
    return any(canonical, [&](const std::string& name) {
      return name.starts_with(block) && holds(name, kTable);
    });
  };
  return has_table("blocks.0.") && (!in_block("blocks.1.") || has_table("blocks.1."));
}

}  // namespace

FileKind kind_of(const Names& names) {
  if (any(names, is_lora_name)) return FileKind::kLora;
  if (any(KeyMap(ModelPart::kTransformer, names).canonical(), is_transformer_name))
    return FileKind::kTransformer;
  if (any(KeyMap(ModelPart::kVae, names).canonical(), is_vae_name)) return FileKind::kVae;
  if (is_umt5(KeyMap(ModelPart::kTextEncoder, names).canonical())) return FileKind::kTextEncoder;
  if (any(names, [](std::string_view name) {
        return name.starts_with("visual.") || name.starts_with("vision_model.");
      }))
    return FileKind::kImageEncoder;
  return FileKind::kOther;
}

const char* describe(FileKind kind) noexcept {
  switch (kind) {
    case FileKind::kTransformer:
      return "a Wan transformer";
    case FileKind::kTextEncoder:
      return "a UMT5 text encoder";
    case FileKind::kVae:
      return "a Wan VAE";
    case FileKind::kImageEncoder:
      return "an image encoder";
    case FileKind::kLora:
      return "a LoRA";
    case FileKind::kOther:
      break;
  }
  return "none of Wan's components";
}

ModelPart part_of(FileKind kind) noexcept {
  if (kind == FileKind::kTextEncoder) return ModelPart::kTextEncoder;
  return kind == FileKind::kVae ? ModelPart::kVae : ModelPart::kTransformer;
}

}  // namespace t2v::weights
