#include "weights/key_map.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <optional>
#include <span>

namespace t2v::weights {
namespace {

// Whole path components at the start of a name (or of the part of it after "blocks.N.").
struct NamePair {
  std::string_view framework;
  std::string_view canonical;
};

constexpr std::array kTransformerTop{
    NamePair{"condition_embedder.text_embedder.linear_1", "text_embedding.0"},
    NamePair{"condition_embedder.text_embedder.linear_2", "text_embedding.2"},
    NamePair{"condition_embedder.time_embedder.linear_1", "time_embedding.0"},
    NamePair{"condition_embedder.time_embedder.linear_2", "time_embedding.2"},
    NamePair{"condition_embedder.time_proj", "time_projection.1"},
    NamePair{"condition_embedder.image_embedder.norm1", "img_emb.proj.0"},
    NamePair{"condition_embedder.image_embedder.ff.net.0.proj", "img_emb.proj.1"},
    NamePair{"condition_embedder.image_embedder.ff.net.2", "img_emb.proj.3"},
    NamePair{"condition_embedder.image_embedder.norm2", "img_emb.proj.4"},
    NamePair{"condition_embedder.image_embedder.pos_embed", "img_emb.emb_pos"},
    NamePair{"scale_shift_table", "head.modulation"},
    NamePair{"proj_out", "head.head"},
};

constexpr std::array kTransformerBlock{
    NamePair{"attn1.to_q", "self_attn.q"},
    NamePair{"attn1.to_k", "self_attn.k"},
    NamePair{"attn1.to_v", "self_attn.v"},
    NamePair{"attn1.to_out.0", "self_attn.o"},
    NamePair{"attn1.norm_q", "self_attn.norm_q"},
    NamePair{"attn1.norm_k", "self_attn.norm_k"},
    NamePair{"attn2.to_q", "cross_attn.q"},
    NamePair{"attn2.to_k", "cross_attn.k"},
    NamePair{"attn2.to_v", "cross_attn.v"},
    NamePair{"attn2.to_out.0", "cross_attn.o"},
    NamePair{"attn2.norm_q", "cross_attn.norm_q"},
    NamePair{"attn2.norm_k", "cross_attn.norm_k"},
    NamePair{"attn2.add_k_proj", "cross_attn.k_img"},
    NamePair{"attn2.add_v_proj", "cross_attn.v_img"},
    NamePair{"attn2.norm_added_k", "cross_attn.norm_k_img"},
    NamePair{"norm2", "norm3"},
    NamePair{"ffn.net.0.proj", "ffn.0"},
    NamePair{"ffn.net.2", "ffn.2"},
    NamePair{"scale_shift_table", "modulation"},
};

constexpr std::array kTextEncoderTop{
    NamePair{"shared", "token_embedding"},
    NamePair{"encoder.embed_tokens", "token_embedding"},
    NamePair{"encoder.final_layer_norm", "norm"},
};

constexpr std::array kTextEncoderBlock{
    NamePair{"layer.0.SelfAttention.q", "attn.q"},
    NamePair{"layer.0.SelfAttention.k", "attn.k"},
    NamePair{"layer.0.SelfAttention.v", "attn.v"},
    NamePair{"layer.0.SelfAttention.o", "attn.o"},
    NamePair{"layer.0.SelfAttention.relative_attention_bias", "pos_embedding.embedding"},
    NamePair{"layer.0.layer_norm", "norm1"},
    NamePair{"layer.1.layer_norm", "norm2"},
    NamePair{"layer.1.DenseReluDense.wi_0", "ffn.gate.0"},
    NamePair{"layer.1.DenseReluDense.wi_1", "ffn.fc1"},
    NamePair{"layer.1.DenseReluDense.wo", "ffn.fc2"},
};

// llama.cpp's names of a T5 encoder; they stand under "enc.blk." + number.
constexpr std::array kGgufTop{
    NamePair{"token_embd", "token_embedding"},
    NamePair{"enc.output_norm", "norm"},
};

constexpr std::array kGgufBlock{
    NamePair{"attn_q", "attn.q"},
    NamePair{"attn_k", "attn.k"},
    NamePair{"attn_v", "attn.v"},
    NamePair{"attn_o", "attn.o"},
    NamePair{"attn_rel_b", "pos_embedding.embedding"},
    NamePair{"attn_norm", "norm1"},
    NamePair{"ffn_norm", "norm2"},
    NamePair{"ffn_gate", "ffn.gate.0"},
    NamePair{"ffn_up", "ffn.fc1"},
    NamePair{"ffn_down", "ffn.fc2"},
};

// One naming style of one part: names under `blocks` + number, and the others.
struct Style {
  std::string_view framework_blocks;
  std::string_view canonical_blocks;
  std::span<const NamePair> top;
  std::span<const NamePair> block;
};

std::optional<Style> style_of(ModelPart part, KeyStyle style) {
  if (style == KeyStyle::kGguf && part == ModelPart::kTextEncoder)
    return Style{"enc.blk.", "blocks.", kGgufTop, kGgufBlock};
  if (style != KeyStyle::kFramework) return std::nullopt;
  switch (part) {
    case ModelPart::kTransformer:
      return Style{"blocks.", "blocks.", kTransformerTop, kTransformerBlock};
    case ModelPart::kTextEncoder:
      return Style{"encoder.block.", "blocks.", kTextEncoderTop, kTextEncoderBlock};
    case ModelPart::kVae:
      return std::nullopt;
  }
  return std::nullopt;
}

enum class Direction { kToCanonical, kToFramework };

// Replaces the pair whose source side starts `name` at a component boundary.
std::optional<std::string> replace_start(std::string_view name, std::span<const NamePair> pairs,
                                         Direction direction) {
  for (const NamePair& pair : pairs) {
    const bool forward = direction == Direction::kToCanonical;
    const std::string_view from = forward ? pair.framework : pair.canonical;
    const std::string_view to = forward ? pair.canonical : pair.framework;
    if (!name.starts_with(from)) continue;
    const std::string_view rest = name.substr(from.size());
    if (rest.empty() || rest[0] == '.') return std::string(to).append(rest);
  }
  return std::nullopt;
}

std::string translate(ModelPart part, KeyStyle key_style, std::string_view name,
                      Direction direction) {
  const std::optional<Style> style = style_of(part, key_style);
  if (!style) return std::string(name);
  const bool forward = direction == Direction::kToCanonical;
  const std::string_view from = forward ? style->framework_blocks : style->canonical_blocks;
  const std::string_view to = forward ? style->canonical_blocks : style->framework_blocks;
  if (name.starts_with(from)) {
    const std::string_view rest = name.substr(from.size());
    const size_t dot = rest.find('.');
    if (dot != 0 && dot != std::string_view::npos &&
        std::all_of(rest.begin(), rest.begin() + static_cast<std::ptrdiff_t>(dot),
                    [](char c) { return c >= '0' && c <= '9'; })) {
      const auto inner = replace_start(rest.substr(dot + 1), style->block, direction);
      return inner ? std::string(to).append(rest.substr(0, dot + 1)).append(*inner)
                   : std::string(name);
    }
  }
  return replace_start(name, style->top, direction).value_or(std::string(name));
}

// Wrappers of training frameworks; they stand anywhere in a name.
constexpr std::array<std::string_view, 3> kInfixes{"_fsdp_wrapped_module.",
                                                   "_checkpoint_wrapped_module.", "_orig_mod."};
// Longest first, so that the whole of a nested prefix goes at once.
constexpr std::array<std::string_view, 8> kPrefixes{"model.diffusion_model.",
                                                    "diffusion_model.",
                                                    "text_encoders.umt5xxl.transformer.",
                                                    "first_stage_model.",
                                                    "module.",
                                                    "model.",
                                                    "net.",
                                                    "vae."};

void remove_infixes(std::string& name) {
  for (const std::string_view infix : kInfixes) {
    for (size_t at = name.find(infix); at != std::string::npos; at = name.find(infix, at))
      name.erase(at, infix.size());
  }
}

// Removes from `names` what most of them start with; gives it back.
std::string take_prefixes(std::vector<std::string>& names) {
  for (std::string& name : names) remove_infixes(name);
  std::string taken;
  bool changed = true;
  while (changed) {
    changed = false;
    for (const std::string_view prefix : kPrefixes) {
      const auto carried = std::count_if(names.begin(), names.end(), [&](const std::string& name) {
        return name.starts_with(prefix);
      });
      if (2 * static_cast<size_t>(carried) <= names.size()) continue;
      for (std::string& name : names) {
        if (name.starts_with(prefix)) name.erase(0, prefix.size());
      }
      taken += prefix;
      changed = true;
    }
  }
  return taken;
}

}  // namespace

KeyMap::KeyMap(ModelPart part, const std::vector<std::string>& names)
    : part_(part), canonical_(names) {
  prefix_ = take_prefixes(canonical_);
  if (part == ModelPart::kVae) {
    if (std::none_of(canonical_.begin(), canonical_.end(), is_native_vae_name)) return;
    style_ = KeyStyle::kNativeVae;
    vae_ = native_vae_shape(canonical_);
    for (std::string& name : canonical_) name = vae_to_framework(name, vae_);
    return;
  }
  for (const KeyStyle style : {KeyStyle::kFramework, KeyStyle::kGguf}) {
    for (std::string& name : canonical_) {
      std::string translated = translate(part, style, name, Direction::kToCanonical);
      if (translated == name) continue;
      name = std::move(translated);
      style_ = style;
    }
    if (style_ == style) return;
  }
}

std::string KeyMap::in_file(std::string_view canonical) const {
  switch (style_) {
    case KeyStyle::kCanonical:
      return prefix_ + std::string(canonical);
    case KeyStyle::kNativeVae:
      return prefix_ + vae_to_native(canonical, vae_);
    case KeyStyle::kFramework:
    case KeyStyle::kGguf:
      break;
  }
  return prefix_ + translate(part_, style_, canonical, Direction::kToFramework);
}

std::string canonical_name(ModelPart part, std::string_view name) {
  if (part == ModelPart::kVae) {
    const std::string text(name);
    return is_native_vae_name(name) || text.starts_with("conv1.") || text.starts_with("conv2.")
               ? vae_to_framework(name, {})
               : text;
  }
  std::string translated = translate(part, KeyStyle::kFramework, name, Direction::kToCanonical);
  return translated != name ? translated
                            : translate(part, KeyStyle::kGguf, name, Direction::kToCanonical);
}

std::string framework_name(ModelPart part, std::string_view canonical) {
  return translate(part, KeyStyle::kFramework, canonical, Direction::kToFramework);
}

std::vector<std::string> strip_prefixes(const std::vector<std::string>& names) {
  std::vector<std::string> stripped = names;
  take_prefixes(stripped);
  return stripped;
}

}  // namespace t2v::weights
