// Facts of a Wan VAE: dimensions and latent statistics from its config and the shapes of its
// tensors, and the tensors that its decoder and its encoder need.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "weights/json_file.h"
#include "weights/weight_map.h"

namespace t2v::models::vae {

// One of the decoder's up blocks, in the order of the decoder.
struct UpBlockSpec {
  int64_t in_channels = 0;
  int64_t channels = 0;         // after its residual blocks
  bool upsample_space = false;  // then the block leaves with channels / 2
  bool upsample_time = false;   // only with upsample_space
  bool keeps_channels = false;  // VAE 2.2: upsampling does not halve them
  [[nodiscard]] int64_t out_channels() const {
    return upsample_space && !keeps_channels ? channels / 2 : channels;
  }
};

// One of the encoder's down blocks, in the order of the encoder.
struct DownBlockSpec {
  int64_t in_channels = 0;
  int64_t channels = 0;           // after its residual blocks
  bool downsample_space = false;  // all but the last
  bool downsample_time = false;   // only with downsample_space
};

struct VaeSpec {
  int64_t z_dim = 0;         // channels of the latents
  int64_t out_channels = 0;  // 3 (RGB) times patch_size^2
  int64_t patch_size = 1;    // pixels per side of what the decoder puts out as one
  bool is_residual = false;  // VAE 2.2 (TI2V-5B): up and down blocks with shortcuts
  int64_t decoder_base_dim = 0;
  int64_t encoder_base_dim = 0;
  int64_t num_res_blocks = 0;        // residual blocks per up block, less one
  std::vector<int64_t> dim_mult;     // from the pixel side to the latent side
  std::vector<bool> upsample_time;   // decoder order, one per up block but the last
  std::vector<double> latents_mean;  // z_dim
  std::vector<double> latents_std;   // z_dim, > 0

  [[nodiscard]] int64_t mid_channels() const { return decoder_base_dim * dim_mult.back(); }
  [[nodiscard]] std::vector<UpBlockSpec> up_blocks() const;
  [[nodiscard]] std::vector<DownBlockSpec> down_blocks() const;
  [[nodiscard]] int64_t encoder_mid_channels() const { return encoder_base_dim * dim_mult.back(); }
  // Pixels per latent pixel in height and width.
  [[nodiscard]] int64_t spatial_factor() const;
  // Frames per latent frame, but for the first, which gives one.
  [[nodiscard]] int64_t temporal_factor() const;
  [[nodiscard]] int64_t num_frames(int64_t num_latents) const {
    return num_latents == 0 ? 0 : 1 + (num_latents - 1) * temporal_factor();
  }
};

// Throw Error{kModel} naming file and key.
VaeSpec read_vae_spec(const std::string& config_path);
VaeSpec parse_vae_spec(const weights::JsonFile& config);

// From the shapes; the statistics of the latents are those of the published VAE with as many
// channels. Throws Error{kModel} naming the tensor at fault.
VaeSpec infer_vae_spec(const weights::WeightMap& weights);
// The config's facts where there is a config. Throws Error{kModel} naming key, value and tensor
// when it contradicts the shapes although the tensors fit together.
VaeSpec vae_spec(const weights::WeightMap& weights, const std::optional<weights::JsonFile>& config);

// Everything that Decoder reads; the encoder's tensors may be there and are ignored.
weights::Expectations decoder_tensors(const VaeSpec& spec);
// Everything that Encoder reads; the decoder's tensors may be there and are ignored.
weights::Expectations encoder_tensors(const VaeSpec& spec);
// Where a down block's tensors are: its residual blocks and its downsampler ("" without one).
struct DownBlockNames {
  std::vector<std::string> resnets;
  std::string downsampler;
};
std::vector<DownBlockNames> down_block_names(const VaeSpec& spec);

}  // namespace t2v::models::vae
