// Facts of a checkpoint: dimensions read from its config files, checked against each other. Never
// from flags.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace t2v::models {

// Wan transformer (one expert).
struct TransformerSpec {
  int64_t in_channels = 0;  // 16 text-to-video, 36 image-to-video
  int64_t out_channels = 0;
  int64_t num_heads = 0;
  int64_t head_size = 0;  // even
  int64_t ffn_size = 0;
  int64_t num_blocks = 0;
  int64_t text_size = 0;     // channels of the text embeddings
  int64_t freq_size = 0;     // width of the timestep sinusoid, even
  int64_t patch_height = 2;  // latent pixels per token
  int64_t patch_width = 2;
  double eps = 1e-6;
  bool cross_attn_norm = true;

  [[nodiscard]] int64_t size() const { return num_heads * head_size; }
  bool operator==(const TransformerSpec&) const = default;
};

// UMT5 encoder.
struct TextEncoderSpec {
  int64_t vocab_size = 0;
  int64_t size = 0;  // d_model
  int64_t num_heads = 0;
  int64_t head_size = 0;  // d_kv
  int64_t ffn_size = 0;
  int64_t num_blocks = 0;
  int64_t num_buckets = 0;  // relative positions
  int64_t max_distance = 0;
  double eps = 1e-6;
};

// Config folders of the diffusers layout. Throw Error{kModel} naming file and key.
TransformerSpec read_transformer_spec(const std::string& config_path);
TextEncoderSpec read_text_encoder_spec(const std::string& config_path);

}  // namespace t2v::models
