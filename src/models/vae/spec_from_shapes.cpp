// Dimensions of a VAE told by the shapes of its tensors, and whether a config says the same.
#include <array>

#include "core/check.h"
#include "models/vae/spec.h"

namespace t2v::models::vae {
namespace {

using weights::JsonFile;
using weights::WeightMap;

constexpr int64_t kMaxChannels = 1 << 16;
constexpr int64_t kMaxUpBlocks = 8;

// Mean and standard deviation of the latents of Wan 2.1's VAE (16 channels) and of Wan 2.2's (48).
constexpr std::array kMean16{-0.7571, -0.7089, -0.9113, 0.1075,  -0.1745, 0.9653,
                             -0.1517, 1.5508,  0.4134,  -0.0715, 0.5517,  -0.3632,
                             -0.1922, -0.9497, 0.2503,  -0.2921};
constexpr std::array kStd16{2.8184, 1.4541, 2.3275, 2.6558, 1.2196, 1.7708, 2.6052, 2.0743,
                            3.2687, 2.1526, 2.8652, 1.5579, 1.6382, 1.1253, 2.8251, 1.916};
constexpr std::array kMean48{0.5562,  0.3311,  0.7691,  0.7357,  -0.3693, -0.2972, 0.2405,  -0.1863,
                             -0.146,  0.5617,  -0.3963, -0.1258, 0.2701,  -0.0088, 0.4714,  1.0703,
                             -0.4317, -0.7385, 0.0952,  0.1747,  -0.2055, -0.2808, -0.4189, 0.2127,
                             1.4313,  0.4183,  0.6847,  0.0338,  0.7939,  -0.0657, 0.3175,  0.0981,
                             -0.3428, -0.0478, -0.7807, -0.2624, 0.3516,  0.6292,  0.2924,  -1.0666,
                             1.0879,  0.0577,  1.7069,  0.0491,  0.6361,  -0.312,  0.0613,  0.0938};
constexpr std::array kStd48{
    1.2075, 0.7018, 1.0442, 1.1354, 0.5624, 1.1506, 0.9625, 1.1313, 0.7503, 0.8415, 0.98,   0.946,
    0.9158, 0.5373, 0.3136, 0.9818, 0.8426, 0.4734, 0.8896, 0.9089, 0.7813, 0.9172, 1.121,  0.498,
    0.926,  0.602,  1.2452, 1.0865, 1.0193, 1.2185, 0.544,  1.1761, 0.9241, 0.5372, 1.108,  0.9017,
    0.4933, 1.1957, 0.8675, 0.5328, 0.5077, 1.0294, 0.9767, 1.2765, 0.4625, 0.5646, 0.8006, 0.8021};

int64_t extent(const WeightMap& weights, const std::string& name, size_t rank, size_t dim) {
  const auto& shape = weights.shape(name, rank);
  T2V_REQUIRE(shape[dim] >= 1 && shape[dim] <= kMaxChannels, ErrorKind::kModel, weights.label(),
              ": tensor '", name, "' is ", c10::IntArrayRef(shape), ", of no VAE of Wan (",
              weights.checkpoint().path(), ")");
  return shape[dim];
}

std::string block_name(int64_t index) { return core::str("decoder.up_blocks.", index); }

void infer_blocks(const WeightMap& weights, VaeSpec& spec) {
  const int64_t num_blocks = weights.count_blocks("decoder.up_blocks.");
  T2V_REQUIRE(num_blocks >= 1 && num_blocks <= kMaxUpBlocks, ErrorKind::kModel, weights.label(),
              ": the decoder has ", num_blocks, " up blocks, expected 1 to ", kMaxUpBlocks, " (",
              weights.checkpoint().path(), ")");
  spec.num_res_blocks = weights.count_blocks(block_name(0) + ".resnets.") - 1;
  const auto channels = [&](int64_t block) {
    return extent(weights, block_name(block) + ".resnets.0.conv1.weight", 5, 0);
  };
  spec.decoder_base_dim = channels(num_blocks - 1);
  for (int64_t i = num_blocks - 1; i >= 0; --i) {
    const int64_t own = channels(i);
    T2V_REQUIRE(own % spec.decoder_base_dim == 0, ErrorKind::kModel, weights.label(), ": up block ",
                i, " has ", own, " channels, expected a multiple of ", spec.decoder_base_dim, " (",
                weights.checkpoint().path(), ")");
    spec.dim_mult.push_back(own / spec.decoder_base_dim);
  }
  for (int64_t i = 0; i + 1 < num_blocks; ++i)
    spec.upsample_time.push_back(
        weights.contains(block_name(i) + ".upsamplers.0.time_conv.weight") ||
        weights.contains(block_name(i) + ".upsampler.time_conv.weight"));
}

template <typename Numbers>
std::vector<double> as_list(const Numbers& numbers) {
  return {numbers.begin(), numbers.end()};
}

void set_statistics(const WeightMap& weights, VaeSpec& spec) {
  const bool is_16 = spec.z_dim == static_cast<int64_t>(kMean16.size());
  T2V_REQUIRE(
      is_16 || spec.z_dim == static_cast<int64_t>(kMean48.size()), ErrorKind::kModel,
      weights.label(), ": the statistics of latents with ", spec.z_dim,
      " channels are not known; put a config.json with \"latents_mean\" and \"latents_std\" "
      "beside the file (",
      weights.checkpoint().path(), ")");
  spec.latents_mean = is_16 ? as_list(kMean16) : as_list(kMean48);
  spec.latents_std = is_16 ? as_list(kStd16) : as_list(kStd48);
}

VaeSpec structure_of_shapes(const WeightMap& weights) {
  VaeSpec spec;
  spec.z_dim = extent(weights, "decoder.conv_in.weight", 5, 1);
  spec.out_channels = extent(weights, "decoder.conv_out.weight", 5, 0);
  spec.is_residual = weights.contains(block_name(0) + ".upsampler.resample.1.weight");
  spec.patch_size = spec.out_channels == 12 ? 2 : 1;
  infer_blocks(weights, spec);
  // Some files have no encoder.
  const char* first = "encoder.conv_in.weight";
  spec.encoder_base_dim =
      weights.contains(first) ? extent(weights, first, 5, 0) : spec.decoder_base_dim;
  return spec;
}

bool fit_together(const WeightMap& weights, const VaeSpec& spec) {
  try {
    weights.check(decoder_tensors(spec));
    return true;
  } catch (const Error&) {
    return false;
  }
}

// The first key that says what the shapes do not; nullptr when there is none.
const char* contradiction(const VaeSpec& said, const VaeSpec& shown) {
  if (said.z_dim != shown.z_dim) return "z_dim";
  if (said.is_residual != shown.is_residual) return "is_residual";
  if (said.out_channels != shown.out_channels) return "out_channels";
  if (said.num_res_blocks != shown.num_res_blocks) return "num_res_blocks";
  if (said.dim_mult.size() != shown.dim_mult.size()) return "dim_mult";
  if (said.upsample_time != shown.upsample_time) return "temperal_downsample";
  if (said.up_blocks().back().channels != shown.up_blocks().back().channels) return "base_dim";
  const auto mine = said.up_blocks();
  const auto theirs = shown.up_blocks();
  for (size_t i = 0; i < mine.size(); ++i)
    if (mine[i].channels != theirs[i].channels) return "dim_mult";
  return nullptr;
}

}  // namespace

VaeSpec infer_vae_spec(const WeightMap& weights) {
  VaeSpec spec = structure_of_shapes(weights);
  set_statistics(weights, spec);
  return spec;
}

VaeSpec vae_spec(const WeightMap& weights, const std::optional<JsonFile>& config) {
  if (!config) return infer_vae_spec(weights);
  VaeSpec said = parse_vae_spec(*config);
  VaeSpec shown;
  try {
    shown = structure_of_shapes(weights);
  } catch (const Error&) {  // a tensor is missing or misshapen: the check of all tells it
    return said;
  }
  const char* key = contradiction(said, shown);
  if (key != nullptr && fit_together(weights, shown)) {
    const bool has_own = std::string(key) == "base_dim" && config->has_value("decoder_base_dim");
    config->refuse(
        has_own ? "decoder_base_dim" : key,
        core::str("what fits the tensors of ", weights.checkpoint().path(), ": ", shown.z_dim,
                  " latent channels, ", shown.decoder_base_dim, " channels at the pixel side"));
  }
  return said;
}

}  // namespace t2v::models::vae
