#include "weights/key_map.h"

#include <algorithm>
#include <catch2/catch.hpp>
#include <set>

#include "weights/file_kind.h"

using namespace t2v::weights;

namespace {

struct Pair {
  std::string framework;
  std::string canonical;
};

// All names of a transformer with two blocks and the image parts, written out by the definition.
std::vector<Pair> transformer_names() {
  std::vector<Pair> names{
      {"patch_embedding.weight", "patch_embedding.weight"},
      {"patch_embedding.bias", "patch_embedding.bias"},
      {"scale_shift_table", "head.modulation"},
      {"condition_embedder.image_embedder.pos_embed", "img_emb.emb_pos"},
  };
  const auto linear = [&](const std::string& framework, const std::string& canonical) {
    for (const char* kind : {".weight", ".bias"})
      names.push_back({framework + kind, canonical + kind});
  };
  linear("condition_embedder.text_embedder.linear_1", "text_embedding.0");
  linear("condition_embedder.text_embedder.linear_2", "text_embedding.2");
  linear("condition_embedder.time_embedder.linear_1", "time_embedding.0");
  linear("condition_embedder.time_embedder.linear_2", "time_embedding.2");
  linear("condition_embedder.time_proj", "time_projection.1");
  linear("condition_embedder.image_embedder.norm1", "img_emb.proj.0");
  linear("condition_embedder.image_embedder.ff.net.0.proj", "img_emb.proj.1");
  linear("condition_embedder.image_embedder.ff.net.2", "img_emb.proj.3");
  linear("condition_embedder.image_embedder.norm2", "img_emb.proj.4");
  linear("proj_out", "head.head");
  for (const std::string block : {"blocks.0.", "blocks.1."}) {
    const auto attention = [&](const std::string& framework, const std::string& canonical) {
      linear(block + framework + ".to_q", block + canonical + ".q");
      linear(block + framework + ".to_k", block + canonical + ".k");
      linear(block + framework + ".to_v", block + canonical + ".v");
      linear(block + framework + ".to_out.0", block + canonical + ".o");
      for (const std::string norm : {".norm_q.weight", ".norm_k.weight"}) {
        names.push_back({block + framework + norm, block + canonical + norm});
      }
    };
    attention("attn1", "self_attn");
    attention("attn2", "cross_attn");
    linear(block + "attn2.add_k_proj", block + "cross_attn.k_img");
    linear(block + "attn2.add_v_proj", block + "cross_attn.v_img");
    names.push_back({block + "attn2.norm_added_k.weight", block + "cross_attn.norm_k_img.weight"});
    linear(block + "norm2", block + "norm3");
    linear(block + "ffn.net.0.proj", block + "ffn.0");
    linear(block + "ffn.net.2", block + "ffn.2");
    names.push_back({block + "scale_shift_table", block + "modulation"});
  }
  return names;
}

std::vector<Pair> text_encoder_names() {
  std::vector<Pair> names{{"shared.weight", "token_embedding.weight"},
                          {"encoder.final_layer_norm.weight", "norm.weight"}};
  for (const std::string index : {"0.", "1.", "23."}) {
    const std::string from = "encoder.block." + index;
    const std::string to = "blocks." + index;
    for (const std::string letter : {"q", "k", "v", "o"}) {
      names.push_back({from + "layer.0.SelfAttention." + letter + ".weight",
                       to + "attn." + letter + ".weight"});
    }
    names.push_back({from + "layer.0.SelfAttention.relative_attention_bias.weight",
                     to + "pos_embedding.embedding.weight"});
    names.push_back({from + "layer.0.layer_norm.weight", to + "norm1.weight"});
    names.push_back({from + "layer.1.layer_norm.weight", to + "norm2.weight"});
    names.push_back({from + "layer.1.DenseReluDense.wi_0.weight", to + "ffn.gate.0.weight"});
    names.push_back({from + "layer.1.DenseReluDense.wi_1.weight", to + "ffn.fc1.weight"});
    names.push_back({from + "layer.1.DenseReluDense.wo.weight", to + "ffn.fc2.weight"});
  }
  return names;
}

void check_both_ways(ModelPart part, const std::vector<Pair>& names) {
  std::set<std::string> canonical;
  for (const Pair& pair : names) {
    CAPTURE(pair.framework, pair.canonical);
    CHECK(canonical_name(part, pair.framework) == pair.canonical);
    CHECK(canonical_name(part, pair.canonical) == pair.canonical);
    CHECK(framework_name(part, pair.canonical) == pair.framework);
    CHECK(canonical.insert(pair.canonical).second);
  }
}

}  // namespace

TEST_CASE("transformer names map both ways, canonical names onto themselves") {
  check_both_ways(ModelPart::kTransformer, transformer_names());
}

TEST_CASE("text encoder names map both ways, canonical names onto themselves") {
  check_both_ways(ModelPart::kTextEncoder, text_encoder_names());
  CHECK(canonical_name(ModelPart::kTextEncoder, "encoder.embed_tokens.weight") ==
        "token_embedding.weight");
}

namespace {

// A whole VAE 2.1 (four up blocks of three residual blocks) in both styles.
std::vector<Pair> vae_names() {
  std::vector<Pair> names;
  const auto both = [&](const std::string& native, const std::string& framework) {
    for (const char* kind : {".weight", ".bias"})
      names.push_back({native + kind, framework + kind});
  };
  const auto residual = [&](const std::string& native, const std::string& framework, bool wider) {
    names.push_back({native + ".residual.0.gamma", framework + ".norm1.gamma"});
    both(native + ".residual.2", framework + ".conv1");
    names.push_back({native + ".residual.3.gamma", framework + ".norm2.gamma"});
    both(native + ".residual.6", framework + ".conv2");
    if (wider) both(native + ".shortcut", framework + ".conv_shortcut");
  };
  both("conv1", "quant_conv");
  both("conv2", "post_quant_conv");
  for (const std::string half : {"encoder", "decoder"}) {
    both(half + ".conv1", half + ".conv_in");
    residual(half + ".middle.0", half + ".mid_block.resnets.0", false);
    names.push_back({half + ".middle.1.norm.gamma", half + ".mid_block.attentions.0.norm.gamma"});
    both(half + ".middle.1.to_qkv", half + ".mid_block.attentions.0.to_qkv");
    both(half + ".middle.1.proj", half + ".mid_block.attentions.0.proj");
    residual(half + ".middle.2", half + ".mid_block.resnets.1", false);
    names.push_back({half + ".head.0.gamma", half + ".norm_out.gamma"});
    both(half + ".head.2", half + ".conv_out");
  }
  for (const std::string layer : {"0", "1", "10"})
    residual("encoder.downsamples." + layer, "encoder.down_blocks." + layer, layer == "1");
  both("encoder.downsamples.2.resample.1", "encoder.down_blocks.2.resample.1");
  both("encoder.downsamples.5.time_conv", "encoder.down_blocks.5.time_conv");
  for (int layer = 0; layer < 15; ++layer) {
    const std::string native = "decoder.upsamples." + std::to_string(layer);
    const std::string block = "decoder.up_blocks." + std::to_string(layer / 4);
    if (layer % 4 == 3) {
      both(native + ".resample.1", block + ".upsamplers.0.resample.1");
      if (layer < 11) both(native + ".time_conv", block + ".upsamplers.0.time_conv");
    } else {
      residual(native, block + ".resnets." + std::to_string(layer % 4), layer == 4);
    }
  }
  return names;
}

// Parts of VAE 2.2 that VAE 2.1 has elsewhere.
std::vector<Pair> nested_vae_names() {
  return {{"decoder.conv1.weight", "decoder.conv_in.weight"},
          {"decoder.upsamples.0.upsamples.2.residual.6.bias",
           "decoder.up_blocks.0.resnets.2.conv2.bias"},
          {"decoder.upsamples.0.upsamples.3.resample.1.weight",
           "decoder.up_blocks.0.upsampler.resample.1.weight"},
          {"decoder.upsamples.1.upsamples.3.time_conv.bias",
           "decoder.up_blocks.1.upsampler.time_conv.bias"},
          {"decoder.upsamples.3.upsamples.0.shortcut.weight",
           "decoder.up_blocks.3.resnets.0.conv_shortcut.weight"},
          {"encoder.downsamples.1.downsamples.1.residual.0.gamma",
           "encoder.down_blocks.1.resnets.1.norm1.gamma"},
          {"encoder.downsamples.1.downsamples.2.time_conv.weight",
           "encoder.down_blocks.1.downsampler.time_conv.weight"}};
}

std::vector<Pair> gguf_names() {
  std::vector<Pair> names{{"token_embd.weight", "token_embedding.weight"},
                          {"enc.output_norm.weight", "norm.weight"}};
  for (const std::string index : {"0.", "23."}) {
    const std::string from = "enc.blk." + index;
    const std::string to = "blocks." + index;
    for (const std::string letter : {"q", "k", "v", "o"})
      names.push_back({from + "attn_" + letter + ".weight", to + "attn." + letter + ".weight"});
    names.push_back({from + "attn_rel_b.weight", to + "pos_embedding.embedding.weight"});
    names.push_back({from + "attn_norm.weight", to + "norm1.weight"});
    names.push_back({from + "ffn_norm.weight", to + "norm2.weight"});
    names.push_back({from + "ffn_gate.weight", to + "ffn.gate.0.weight"});
    names.push_back({from + "ffn_up.weight", to + "ffn.fc1.weight"});
    names.push_back({from + "ffn_down.weight", to + "ffn.fc2.weight"});
  }
  return names;
}

// The names of a whole file, with a prefix: all become canonical, and all are found back.
void check_file(ModelPart part, const std::vector<Pair>& names, const std::string& prefix,
                KeyStyle style) {
  std::vector<std::string> in_file;
  for (const Pair& pair : names) in_file.push_back(prefix + pair.framework);
  const KeyMap keys(part, in_file);
  CHECK(keys.style() == style);
  for (size_t i = 0; i < names.size(); ++i) {
    CAPTURE(in_file[i]);
    CHECK(keys.canonical()[i] == names[i].canonical);
    CHECK(keys.in_file(names[i].canonical) == in_file[i]);
  }
}

std::vector<Pair> canonical_only(std::vector<Pair> names) {
  for (Pair& pair : names) pair.framework = pair.canonical;
  return names;
}

}  // namespace

TEST_CASE("whole files in every style map both ways, under every prefix") {
  for (const std::string prefix : {"", "model.diffusion_model.", "diffusion_model.", "net."}) {
    CAPTURE(prefix);
    check_file(ModelPart::kTransformer, transformer_names(), prefix, KeyStyle::kFramework);
    check_file(ModelPart::kTransformer, canonical_only(transformer_names()), prefix,
               KeyStyle::kCanonical);
  }
  check_file(ModelPart::kTextEncoder, text_encoder_names(), "", KeyStyle::kFramework);
  check_file(ModelPart::kTextEncoder, canonical_only(text_encoder_names()), "module.",
             KeyStyle::kCanonical);
  check_file(ModelPart::kTextEncoder, gguf_names(), "", KeyStyle::kGguf);
  for (const std::string prefix : {"", "vae.", "first_stage_model."}) {
    check_file(ModelPart::kVae, vae_names(), prefix, KeyStyle::kNativeVae);
    check_file(ModelPart::kVae, canonical_only(vae_names()), prefix, KeyStyle::kCanonical);
  }
  check_file(ModelPart::kVae, nested_vae_names(), "", KeyStyle::kNativeVae);
}

TEST_CASE("the number of residual blocks tells where a flat list of layers is cut") {
  const KeyMap keys(ModelPart::kVae, {"decoder.upsamples.0.residual.2.weight",
                                      "decoder.upsamples.2.resample.1.weight",
                                      "decoder.upsamples.3.residual.2.weight"});
  CHECK(keys.canonical() ==
        std::vector<std::string>{"decoder.up_blocks.0.resnets.0.conv1.weight",
                                 "decoder.up_blocks.0.upsamplers.0.resample.1.weight",
                                 "decoder.up_blocks.1.resnets.0.conv1.weight"});
}

TEST_CASE("a file is told by the names in it") {
  const auto kind = [](const std::vector<Pair>& names, const std::string& prefix) {
    std::vector<std::string> list;
    for (const Pair& pair : names) list.push_back(prefix + pair.framework);
    return kind_of(list);
  };
  CHECK(kind(transformer_names(), "") == FileKind::kTransformer);
  CHECK(kind(canonical_only(transformer_names()), "model.diffusion_model.") ==
        FileKind::kTransformer);
  CHECK(kind(text_encoder_names(), "") == FileKind::kTextEncoder);
  CHECK(kind(canonical_only(text_encoder_names()), "") == FileKind::kTextEncoder);
  CHECK(kind(gguf_names(), "") == FileKind::kTextEncoder);
  CHECK(kind(vae_names(), "") == FileKind::kVae);
  CHECK(kind(canonical_only(vae_names()), "vae.") == FileKind::kVae);
  CHECK(kind_of({"diffusion_model.blocks.0.self_attn.q.lora_A.weight"}) == FileKind::kLora);
  CHECK(kind_of({"lora_unet_blocks_0_self_attn_q.lora_down.weight"}) == FileKind::kLora);
  CHECK(kind_of({"visual.conv1.weight"}) == FileKind::kImageEncoder);
  // T5 1.1 has one table of positions, UMT5 one for each block.
  const std::string table = "layer.0.SelfAttention.relative_attention_bias.weight";
  CHECK(kind_of({"encoder.block.0." + table, "encoder.block.1.layer.0.layer_norm.weight"}) ==
        FileKind::kOther);
  // The VAE of another family.
  CHECK(kind_of({"decoder.conv_in.weight", "decoder.mid.block_1.norm1.weight"}) ==
        FileKind::kOther);
  CHECK(kind_of({}) == FileKind::kOther);
}

TEST_CASE("names of the VAE and unknown names stay") {
  CHECK(canonical_name(ModelPart::kVae, "decoder.conv_in.weight") == "decoder.conv_in.weight");
  for (const std::string name :
       {"proj_outer.weight", "blocks.x.norm2.weight", "blocks.0.norm22.weight", "blocks.", "",
        "blocks.0", "blocks..norm2", "attn1.to_q.weight"}) {
    CHECK(canonical_name(ModelPart::kTransformer, name) == name);
  }
}

TEST_CASE("wrapper prefixes go when most names carry them") {
  using Names = std::vector<std::string>;
  CHECK(strip_prefixes({"model.diffusion_model.a", "model.diffusion_model.b"}) == Names{"a", "b"});
  CHECK(strip_prefixes({"module.model.a", "module.model.b.model.c"}) == Names{"a", "b.model.c"});
  CHECK(strip_prefixes({"net.a", "net.b", "net.c", "scaled_fp8"}) ==
        Names{"a", "b", "c", "scaled_fp8"});
  CHECK(strip_prefixes({"model.a", "b", "c"}) == Names{"model.a", "b", "c"});
  CHECK(strip_prefixes({"blocks.0._fsdp_wrapped_module.norm3.weight", "_orig_mod.x"}) ==
        Names{"blocks.0.norm3.weight", "x"});
  CHECK(strip_prefixes({}) == Names{});
  CHECK(strip_prefixes({"model.", "model."}) == Names{"", ""});
}
