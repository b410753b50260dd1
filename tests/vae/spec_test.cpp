// vae/config.json: what is read, what is refused.
#include "models/vae/spec.h"

#include <catch2/catch.hpp>
#include <string>

#include "t2v/error.h"

namespace {

using t2v::models::vae::parse_vae_spec;
using t2v::models::vae::VaeSpec;
using t2v::weights::JsonFile;

const std::string kGood =
    R"({"_class_name": "AutoencoderKLWan", "base_dim": 6, "decoder_base_dim": null, "dim_mult": [1, 2, 4, 4],
        "num_res_blocks": 2, "temperal_downsample": [false, true, true], "z_dim": 2, "latents_mean": [0.5, -1],
        "latents_std": [2, 1.5], "attn_scales": [], "is_residual": false, "patch_size": null,
        "scale_factor_spatial": 8, "scale_factor_temporal": 4})";

std::string replaced(const std::string& from, const std::string& to) {
  std::string text = kGood;
  text.replace(text.find(from), from.size(), to);
  return text;
}

// The message, or "" when there is no error.
std::string refusal(const std::string& text) {
  try {
    parse_vae_spec(JsonFile::parse(text, "vae/config.json"));
  } catch (const t2v::Error& error) {
    CHECK(error.kind() == t2v::ErrorKind::kModel);
    return error.what();
  }
  return "";
}

}  // namespace

TEST_CASE("VaeSpec of the published structure", "[vae]") {
  const VaeSpec spec = parse_vae_spec(JsonFile::parse(kGood, "vae/config.json"));
  CHECK(spec.decoder_base_dim == 6);
  CHECK(spec.mid_channels() == 24);
  CHECK(spec.spatial_factor() == 8);
  CHECK(spec.temporal_factor() == 4);
  CHECK(spec.num_frames(1) == 1);
  CHECK(spec.num_frames(5) == 17);
  const auto blocks = spec.up_blocks();
  REQUIRE(blocks.size() == 4);
  CHECK(blocks[0].channels == 24);
  CHECK(blocks[1].in_channels == 12);
  CHECK(blocks[0].upsample_time);
  CHECK(blocks[1].upsample_time);
  CHECK_FALSE(blocks[2].upsample_time);
  CHECK_FALSE(blocks[3].upsample_space);
  CHECK(blocks[3].out_channels() == 6);
}

TEST_CASE("VaeSpec refuses what it cannot be", "[vae]") {
  CHECK(refusal(kGood) == "");
  const auto refused = [](const std::string& from, const std::string& to, const std::string& key) {
    const std::string message = refusal(replaced(from, to));
    INFO(from << " -> " << to << ": " << message);
    CHECK(message.find(key) != std::string::npos);
  };
  refused("AutoencoderKLWan", "AutoencoderKL", "_class_name");
  refused("\"is_residual\": false", "\"is_residual\": 1", "is_residual");
  refused("\"patch_size\": null", "\"patch_size\": 2", "scale_factor_spatial");
  refused("\"z_dim\": 2", "\"z_dim\": 3", "latents_mean");
  refused("\"z_dim\": 2", "\"z_dim\": 0", "z_dim");
  refused("[2, 1.5]", "[2, 0]", "latents_std");
  refused("[2, 1.5]", "[2]", "latents_std");
  refused("[2, 1.5]", "[2, \"x\"]", "latents_std");
  refused("[false, true, true]", "[false, true]", "temperal_downsample");
  refused("[1, 2, 4, 4]", "[]", "dim_mult");
  refused("[1, 2, 4, 4]", "[1, 2, 4, 0]", "dim_mult");
  refused("[1, 2, 4, 4]", "[1, 2, 4, 1000000]", "dim_mult");
  refused("\"base_dim\": 6", "\"base_dim\": -6", "base_dim");
  refused("\"base_dim\": 6", "\"base_dim\": 4611686018427387904", "base_dim");
  refused("\"base_dim\": 6", "\"basedim\": 6", "base_dim");
  refused("\"num_res_blocks\": 2", "\"num_res_blocks\": 1e9", "num_res_blocks");
  refused("\"scale_factor_spatial\": 8", "\"scale_factor_spatial\": 16", "scale_factor_spatial");
  refused("\"scale_factor_temporal\": 4", "\"scale_factor_temporal\": 2", "scale_factor_temporal");
}
