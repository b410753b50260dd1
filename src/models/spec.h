// Facts of a checkpoint: dimensions from the shapes of its tensors and from its config file, which
// must agree. Never from flags.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "weights/json_file.h"
#include "weights/weight_map.h"

namespace t2v::models {

// Wan transformer (one expert).
struct TransformerSpec {
  int64_t in_channels = 0;  // 16 text-to-video, 36 image-to-video, 48 both (5B)
  int64_t out_channels = 0;
  int64_t num_heads = 0;
  int64_t head_size = 0;  // even
  int64_t ffn_size = 0;
  int64_t num_blocks = 0;
  int64_t text_size = 0;     // channels of the text embeddings
  int64_t freq_size = 0;     // width of the timestep sinusoid, even
  int64_t image_size = 0;    // channels of the image encoder; 0: the model has none
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
  int64_t max_distance = 128;
  double eps = 1e-6;

  bool operator==(const TextEncoderSpec&) const = default;
};

// Configs with the keys of diffusers or of Wan's own ("dim", "in_dim"), which leave text_size and
// the patch to the shapes (0). Throw Error{kModel} naming file and key.
TransformerSpec parse_transformer_spec(const weights::JsonFile& config);
TextEncoderSpec parse_text_encoder_spec(const weights::JsonFile& config);
TransformerSpec read_transformer_spec(const std::string& config_path);
TextEncoderSpec read_text_encoder_spec(const std::string& config_path);

// From the shapes alone; heads are of 128 unless the file's metadata says how many there are.
// Throw Error{kModel} naming the tensor that is missing, or what a config file would have to say.
TransformerSpec infer_transformer_spec(const weights::WeightMap& weights);
TextEncoderSpec infer_text_encoder_spec(const weights::WeightMap& weights);

// The config's facts, completed by those of the shapes. Throws Error{kModel} naming key, value and
// tensor when they contradict each other although the tensors fit together.
TransformerSpec transformer_spec(const weights::WeightMap& weights,
                                 const std::optional<weights::JsonFile>& config);
TextEncoderSpec text_encoder_spec(const weights::WeightMap& weights,
                                  const std::optional<weights::JsonFile>& config);

}  // namespace t2v::models
