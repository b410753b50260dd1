#include "weights/key_map.h"

#include <algorithm>
#include <catch2/catch.hpp>
#include <set>

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
