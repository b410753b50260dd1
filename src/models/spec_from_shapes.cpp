// Dimensions told by the shapes of tensors, and whether a config says the same.
#include <charconv>

#include "core/check.h"
#include "models/spec.h"
#include "models/umt5/encoder.h"
#include "models/wan/transformer.h"

namespace t2v::models {
namespace {

using weights::JsonFile;
using weights::WeightMap;

constexpr int64_t kHeadSize = 128;  // of all published models
constexpr int64_t kMaxChannels = 1 << 24;

const char* const kPatch = "patch_embedding.weight";
const char* const kQuery = "blocks.0.self_attn.q.weight";
const char* const kFfn = "blocks.0.ffn.0.weight";
const char* const kText = "text_embedding.0.weight";
const char* const kTime = "time_embedding.0.weight";
const char* const kHead = "head.head.weight";

std::string shape_text(const std::vector<int64_t>& shape) {
  return core::str(c10::IntArrayRef(shape));
}

// Of a tensor that is there; the stored weight itself when it has scales beside it.
const weights::TensorEntry& entry_of(const WeightMap& weights, const std::string& name) {
  return *weights.entries(name).at(0).second;
}

std::string file_of(const WeightMap& weights, const std::string& name) {
  return weights.checkpoint().file_of(entry_of(weights, name));
}

// One extent of a tensor, in the range where products stay within 64 bits.
int64_t extent(const WeightMap& weights, const std::string& name, size_t rank, size_t dim) {
  const auto& shape = weights.shape(name, rank);
  T2V_REQUIRE(shape[dim] >= 1 && shape[dim] <= kMaxChannels, ErrorKind::kModel, weights.label(),
              ": tensor '", entry_of(weights, name).name, "' is ", shape_text(shape),
              ", of no model of this kind (", file_of(weights, name), ")");
  return shape[dim];
}

// The number of heads, where the file itself says it.
int64_t heads_of_metadata(const WeightMap& weights) {
  for (const char* key : {"num_attention_heads", "num_heads", "wan.attention.head_count"}) {
    const auto found = weights.checkpoint().metadata().find(key);
    if (found == weights.checkpoint().metadata().end()) continue;
    const std::string& text = found->second;
    int64_t value = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (error == std::errc() && end == text.data() + text.size()) return value;
  }
  return 0;
}

void infer_heads(const WeightMap& weights, int64_t size, TransformerSpec& spec) {
  const int64_t said = heads_of_metadata(weights);
  spec.num_heads = said > 0 ? said : size / kHeadSize;
  const bool fits =
      spec.num_heads > 0 && size % spec.num_heads == 0 && size / spec.num_heads % 2 == 0;
  T2V_REQUIRE(fits && (said > 0 || size % kHeadSize == 0), ErrorKind::kModel, weights.label(),
              ": the number of attention heads is not known: ", size,
              " channels are not whole heads of ", kHeadSize,
              "; put a config.json with \"num_heads\" beside the file (", file_of(weights, kPatch),
              ")");
  spec.head_size = size / spec.num_heads;
}

// One fact that config and shapes both tell.
struct Claim {
  const char* key;
  int64_t said;
  int64_t shown;
  const char* tensor;  // that shows it; nullptr: the number of blocks does
};

[[noreturn]] void refuse_claim(const JsonFile& config, const WeightMap& weights,
                               const Claim& claim) {
  if (claim.tensor == nullptr)
    config.refuse(claim.key,
                  core::str(claim.shown, ", as many blocks are in ", weights.checkpoint().path()));
  const auto& entry = entry_of(weights, claim.tensor);
  config.refuse(claim.key,
                core::str(claim.shown, ": tensor '", entry.name, "' is ", shape_text(entry.shape),
                          " in ", weights.checkpoint().file_of(entry)));
}

// Whether all tensors are those of a spec, so that the config must be at fault.
template <typename Expected>
bool fit_together(const WeightMap& weights, const Expected& expectations) {
  try {
    weights.check(expectations());
    return true;
  } catch (const Error&) {
    return false;
  }
}

std::vector<Claim> claims_of(const JsonFile& config, const TransformerSpec& said,
                             const TransformerSpec& shown) {
  const bool wan_keys = config.contains("in_dim");
  return {
      {wan_keys ? "in_dim" : "in_channels", said.in_channels, shown.in_channels, kPatch},
      {wan_keys ? "out_dim" : "out_channels", said.out_channels, shown.out_channels, kHead},
      {wan_keys ? "dim" : "num_attention_heads", wan_keys ? said.size() : said.num_heads,
       wan_keys ? shown.size() : shown.size() / said.head_size, kQuery},
      {wan_keys ? "dim" : "attention_head_dim", said.size(), shown.size(), kQuery},
      {"ffn_dim", said.ffn_size, shown.ffn_size, kFfn},
      {"num_layers", said.num_blocks, shown.num_blocks, nullptr},
      {"text_dim", said.text_size, shown.text_size, kText},
      {"freq_dim", said.freq_size, shown.freq_size, kTime},
      {"patch_size", said.patch_height, shown.patch_height, kPatch},
      {"patch_size", said.patch_width, shown.patch_width, kPatch},
      {"cross_attn_norm", said.cross_attn_norm ? 1 : 0, shown.cross_attn_norm ? 1 : 0, kQuery},
  };
}

// All but the heads, which are no matter of shapes; they are one of all channels here.
TransformerSpec sizes_of_shapes(const WeightMap& weights) {
  TransformerSpec spec;
  const int64_t size = extent(weights, kPatch, 5, 0);
  T2V_REQUIRE(weights.shape(kPatch, 5)[2] == 1 && size % 2 == 0, ErrorKind::kModel, weights.label(),
              ": tensor '", entry_of(weights, kPatch).name, "' is ",
              shape_text(weights.shape(kPatch)), ", expected [size, channels, 1, height, width] (",
              file_of(weights, kPatch), ")");
  spec.num_heads = 1;
  spec.head_size = size;
  spec.in_channels = extent(weights, kPatch, 5, 1);
  spec.patch_height = extent(weights, kPatch, 5, 3);
  spec.patch_width = extent(weights, kPatch, 5, 4);
  spec.ffn_size = extent(weights, kFfn, 2, 0);
  spec.num_blocks = weights.count_blocks("blocks.");
  spec.text_size = extent(weights, kText, 2, 1);
  spec.freq_size = extent(weights, kTime, 2, 1);
  const int64_t patch = spec.patch_height * spec.patch_width;
  const int64_t outputs = extent(weights, kHead, 2, 0);
  T2V_REQUIRE(outputs % patch == 0 && spec.freq_size % 2 == 0, ErrorKind::kModel, weights.label(),
              ": tensor '", entry_of(weights, kHead).name, "' is ",
              shape_text(weights.shape(kHead)), ", expected a multiple of ", patch, " rows (",
              file_of(weights, kHead), ")");
  spec.out_channels = outputs / patch;
  spec.cross_attn_norm = weights.contains("blocks.0.norm3.weight");
  if (weights.contains("img_emb.proj.1.weight"))
    spec.image_size = extent(weights, "img_emb.proj.1.weight", 2, 1);
  return spec;
}

}  // namespace

TransformerSpec infer_transformer_spec(const WeightMap& weights) {
  TransformerSpec spec = sizes_of_shapes(weights);
  infer_heads(weights, spec.size(), spec);
  return spec;
}

TextEncoderSpec infer_text_encoder_spec(const WeightMap& weights) {
  TextEncoderSpec spec;
  spec.vocab_size = extent(weights, "token_embedding.weight", 2, 0);
  spec.size = extent(weights, "token_embedding.weight", 2, 1);
  const char* const table = "blocks.0.pos_embedding.embedding.weight";
  spec.num_buckets = extent(weights, table, 2, 0);
  spec.num_heads = extent(weights, table, 2, 1);
  const char* const query = "blocks.0.attn.q.weight";
  const int64_t inner = extent(weights, query, 2, 0);
  T2V_REQUIRE(inner % spec.num_heads == 0 && spec.num_buckets % 4 == 0 &&
                  spec.max_distance > spec.num_buckets / 4,
              ErrorKind::kModel, weights.label(), ": tensor '", entry_of(weights, table).name,
              "' is ", shape_text(weights.shape(table)), ", which does not fit '",
              entry_of(weights, query).name, "' ", shape_text(weights.shape(query)), " (",
              file_of(weights, table), ")");
  spec.head_size = inner / spec.num_heads;
  spec.ffn_size = extent(weights, "blocks.0.ffn.gate.0.weight", 2, 0);
  spec.num_blocks = weights.count_blocks("blocks.");
  return spec;
}

TransformerSpec transformer_spec(const WeightMap& weights, const std::optional<JsonFile>& config) {
  if (!config) return infer_transformer_spec(weights);
  TransformerSpec said = parse_transformer_spec(*config);
  TransformerSpec shown;
  try {
    shown = sizes_of_shapes(weights);
  } catch (const Error&) {  // a tensor is missing or misshapen: the check of all tells it
    if (said.text_size == 0 || said.patch_height == 0) throw;
    return said;
  }
  if (said.text_size == 0) said.text_size = shown.text_size;
  if (said.patch_height == 0) {
    said.patch_height = shown.patch_height;
    said.patch_width = shown.patch_width;
  }
  said.image_size = shown.image_size;
  for (const Claim& claim : claims_of(*config, said, shown)) {
    if (claim.said == claim.shown || shown.image_size > 0) continue;
    if (fit_together(weights, [&] { return wan::Transformer::expectations(shown); }))
      refuse_claim(*config, weights, claim);
    break;
  }
  return said;
}

TextEncoderSpec text_encoder_spec(const WeightMap& weights, const std::optional<JsonFile>& config) {
  if (!config) return infer_text_encoder_spec(weights);
  const TextEncoderSpec said = parse_text_encoder_spec(*config);
  TextEncoderSpec shown;
  try {
    shown = infer_text_encoder_spec(weights);
  } catch (const Error&) {
    return said;
  }
  const char* const table = "blocks.0.pos_embedding.embedding.weight";
  const Claim claims[] = {
      {"vocab_size", said.vocab_size, shown.vocab_size, "token_embedding.weight"},
      {"d_model", said.size, shown.size, "token_embedding.weight"},
      {"num_heads", said.num_heads, shown.num_heads, table},
      {"d_kv", said.head_size, shown.head_size, "blocks.0.attn.q.weight"},
      {"d_ff", said.ffn_size, shown.ffn_size, "blocks.0.ffn.gate.0.weight"},
      {"num_layers", said.num_blocks, shown.num_blocks, nullptr},
      {"relative_attention_num_buckets", said.num_buckets, shown.num_buckets, table},
  };
  for (const Claim& claim : claims) {
    if (claim.said == claim.shown) continue;
    if (fit_together(weights, [&] { return umt5::Encoder::expectations(shown); }))
      refuse_claim(*config, weights, claim);
    break;
  }
  return said;
}

}  // namespace t2v::models
