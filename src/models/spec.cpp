#include "models/spec.h"

#include "core/check.h"

namespace t2v::models {
namespace {

using weights::JsonFile;

// Far above every published model, low enough that products of three stay within 64 bits.
constexpr int64_t kMaxSize = 1 << 20;
constexpr int64_t kMaxBlocks = 1024;
constexpr int64_t kMaxHeads = 4096;

double read_eps(const JsonFile& config, const char* key) {
  return config.find_double(key, 1e-12, 1e-2).value_or(1e-6);
}

void read_patch(const JsonFile& config, TransformerSpec& spec) {
  const auto patch = config.get_int_list("patch_size", 1, 64);
  if (patch.size() != 3 || patch[0] != 1) config.refuse("patch_size", "[1, height, width]");
  spec.patch_height = patch[1];
  spec.patch_width = patch[2];
}

int64_t read_even(const JsonFile& config, const char* key, int64_t min, int64_t max) {
  const int64_t value = config.get_int(key, min, max);
  if (value % 2 != 0) config.refuse(key, "an even number");
  return value;
}

// The keys of Wan's own config.json, which says neither text_dim nor patch_size.
TransformerSpec parse_wan_config(const JsonFile& config) {
  const std::string kind = config.find_string("_class_name").value_or("WanModel");
  if (kind != "WanModel") config.refuse("_class_name", "\"WanModel\"");
  TransformerSpec spec;
  const int64_t size = config.get_int("dim", 6, kMaxSize);
  spec.num_heads = config.get_int("num_heads", 1, kMaxHeads);
  if (size % spec.num_heads != 0 || size / spec.num_heads % 2 != 0)
    config.refuse("num_heads", core::str("a number that divides 'dim' ", size, " evenly"));
  spec.head_size = size / spec.num_heads;
  spec.in_channels = config.get_int("in_dim", 1, 4096);
  spec.out_channels = config.get_int("out_dim", 1, 4096);
  spec.ffn_size = config.get_int("ffn_dim", 1, kMaxSize);
  spec.num_blocks = config.get_int("num_layers", 1, kMaxBlocks);
  spec.text_size = config.find_int("text_dim", 1, kMaxSize).value_or(0);
  spec.freq_size = read_even(config, "freq_dim", 2, kMaxSize);
  spec.patch_height = 0;
  spec.patch_width = 0;
  if (config.has_value("patch_size")) read_patch(config, spec);
  spec.eps = read_eps(config, "eps");
  spec.cross_attn_norm = config.find_bool("cross_attn_norm").value_or(true);
  return spec;
}

}  // namespace

TransformerSpec parse_transformer_spec(const JsonFile& config) {
  if (config.contains("in_dim") || config.find_string("_class_name") == "WanModel")
    return parse_wan_config(config);
  const std::string kind = config.find_string("_class_name").value_or("WanTransformer3DModel");
  if (kind != "WanTransformer3DModel") config.refuse("_class_name", "\"WanTransformer3DModel\"");
  TransformerSpec spec;
  spec.in_channels = config.get_int("in_channels", 1, 4096);
  spec.out_channels = config.get_int("out_channels", 1, 4096);
  spec.num_heads = config.get_int("num_attention_heads", 1, kMaxHeads);
  spec.head_size = read_even(config, "attention_head_dim", 6, 1024);
  spec.ffn_size = config.get_int("ffn_dim", 1, kMaxSize);
  spec.num_blocks = config.get_int("num_layers", 1, kMaxBlocks);
  spec.text_size = config.get_int("text_dim", 1, kMaxSize);
  spec.freq_size = read_even(config, "freq_dim", 2, kMaxSize);
  read_patch(config, spec);
  spec.eps = read_eps(config, "eps");
  spec.cross_attn_norm = config.find_bool("cross_attn_norm").value_or(true);
  const std::string qk_norm = config.find_string("qk_norm").value_or("rms_norm_across_heads");
  if (qk_norm != "rms_norm_across_heads") config.refuse("qk_norm", "\"rms_norm_across_heads\"");
  spec.image_size = config.find_int("image_dim", 0, kMaxSize).value_or(0);
  return spec;
}

TextEncoderSpec parse_text_encoder_spec(const JsonFile& config) {
  TextEncoderSpec spec;
  const std::string type = config.find_string("model_type").value_or("umt5");
  if (type != "umt5") config.refuse("model_type", "\"umt5\"");
  spec.vocab_size = config.get_int("vocab_size", 1, 1 << 24);
  spec.size = config.get_int("d_model", 1, kMaxSize);
  spec.num_heads = config.get_int("num_heads", 1, kMaxHeads);
  spec.head_size = config.get_int("d_kv", 1, 1024);
  spec.ffn_size = config.get_int("d_ff", 1, kMaxSize);
  spec.num_blocks = config.get_int("num_layers", 1, kMaxBlocks);
  spec.num_buckets = config.find_int("relative_attention_num_buckets", 4, 4096).value_or(32);
  if (spec.num_buckets % 4 != 0) config.refuse("relative_attention_num_buckets", "a multiple of 4");
  spec.max_distance = config.find_int("relative_attention_max_distance", 2, kMaxSize).value_or(128);
  if (spec.max_distance <= spec.num_buckets / 4)
    config.refuse("relative_attention_max_distance", core::str("more than ", spec.num_buckets / 4));
  spec.eps = read_eps(config, "layer_norm_epsilon");
  const std::string ffn = config.find_string("feed_forward_proj").value_or("gated-gelu");
  if (ffn != "gated-gelu") config.refuse("feed_forward_proj", "\"gated-gelu\"");
  return spec;
}

TransformerSpec read_transformer_spec(const std::string& config_path) {
  return parse_transformer_spec(JsonFile::read(config_path));
}

TextEncoderSpec read_text_encoder_spec(const std::string& config_path) {
  return parse_text_encoder_spec(JsonFile::read(config_path));
}

}  // namespace t2v::models
