#include "models/vae/spec.h"

#include <algorithm>

#include "core/check.h"

namespace t2v::models::vae {
namespace {

using weights::Expectations;
using weights::JsonFile;

// Far above every published model, low enough that products stay within 64 bits.
constexpr int64_t kMaxBaseDim = 4096;
constexpr int64_t kMaxMult = 64;
constexpr int64_t kMaxLatentChannels = 1024;
constexpr int64_t kMaxResBlocks = 64;
constexpr size_t kMaxUpBlocks = 8;
constexpr double kMaxStatistic = 1e6;

void read_kind(const JsonFile& config, VaeSpec& spec) {
  const auto kind = config.find_string("_class_name");
  if (kind && *kind != "AutoencoderKLWan") config.refuse("_class_name", "\"AutoencoderKLWan\"");
  spec.is_residual = config.find_bool("is_residual").value_or(false);
  spec.patch_size = config.find_int("patch_size", 1, 8).value_or(1);
}

void read_structure(const JsonFile& config, VaeSpec& spec) {
  spec.z_dim = config.get_int("z_dim", 1, kMaxLatentChannels);
  const int64_t rgb = 3 * spec.patch_size * spec.patch_size;
  spec.out_channels = config.find_int("out_channels", 1, 192).value_or(rgb);
  if (spec.out_channels != rgb) config.refuse("out_channels", core::str(rgb, " (RGB)"));
  const int64_t base_dim = config.get_int("base_dim", 1, kMaxBaseDim);
  spec.encoder_base_dim = base_dim;
  spec.decoder_base_dim = config.find_int("decoder_base_dim", 1, kMaxBaseDim).value_or(base_dim);
  spec.num_res_blocks = config.get_int("num_res_blocks", 1, kMaxResBlocks);
  spec.dim_mult = config.get_int_list("dim_mult", 1, kMaxMult);
  if (spec.dim_mult.empty() || spec.dim_mult.size() > kMaxUpBlocks)
    config.refuse("dim_mult", core::str("a list of 1 to ", kMaxUpBlocks, " numbers"));
  const std::vector<bool> down = config.get_bool_list("temperal_downsample");
  if (down.size() + 1 != spec.dim_mult.size())
    config.refuse("temperal_downsample",
                  core::str("a list of ", spec.dim_mult.size() - 1, ", one less than dim_mult"));
  spec.upsample_time.assign(down.rbegin(), down.rend());
  for (const UpBlockSpec& block : spec.up_blocks())
    if (block.out_channels() < 1 || block.in_channels < 1)
      config.refuse("dim_mult", "at least 2 channels before each upsampling");
}

void check_factor(const JsonFile& config, const char* key, int64_t expected) {
  const auto value = config.find_int(key, 1, 1 << 20);
  if (value && *value != expected)
    config.refuse(key, core::str(expected, ", as dim_mult and temperal_downsample say"));
}

void read_statistics(const JsonFile& config, VaeSpec& spec) {
  const auto z_dim = static_cast<size_t>(spec.z_dim);
  spec.latents_mean = config.get_double_list("latents_mean", -kMaxStatistic, kMaxStatistic);
  if (spec.latents_mean.size() != z_dim)
    config.refuse("latents_mean", core::str("a list of z_dim = ", z_dim));
  spec.latents_std = config.get_double_list("latents_std", -kMaxStatistic, kMaxStatistic);
  if (spec.latents_std.size() != z_dim)
    config.refuse("latents_std", core::str("a list of z_dim = ", z_dim));
  if (std::any_of(spec.latents_std.begin(), spec.latents_std.end(),
                  [](double v) { return !(v > 0); }))
    config.refuse("latents_std", "numbers above 0");
}

void expect_conv(Expectations& expected, const std::string& name, std::vector<int64_t> shape) {
  const int64_t out = shape.front();
  expected.tensors.push_back({name + ".weight", std::move(shape)});
  expected.tensors.push_back({name + ".bias", {out}});
}

void expect_residual(Expectations& expected, const std::string& name, int64_t in, int64_t out) {
  expected.tensors.push_back({name + ".norm1.gamma", {in, 1, 1, 1}});
  expect_conv(expected, name + ".conv1", {out, in, 3, 3, 3});
  expected.tensors.push_back({name + ".norm2.gamma", {out, 1, 1, 1}});
  expect_conv(expected, name + ".conv2", {out, out, 3, 3, 3});
  if (in != out) expect_conv(expected, name + ".conv_shortcut", {out, in, 1, 1, 1});
}

// A block of VAE 2.2.
void expect_nested_block(Expectations& expected, const std::string& name, const UpBlockSpec& block,
                         int64_t num_resnets) {
  for (int64_t i = 0; i < num_resnets; ++i)
    expect_residual(expected, core::str(name, ".resnets.", i),
                    i == 0 ? block.in_channels : block.channels, block.channels);
  if (!block.upsample_space) return;
  const int64_t c = block.channels;
  expect_conv(expected, name + ".upsampler.resample.1", {c, c, 3, 3});
  if (block.upsample_time)
    expect_conv(expected, name + ".upsampler.time_conv", {2 * c, c, 3, 1, 1});
}

void expect_up_block(Expectations& expected, const std::string& name, const UpBlockSpec& block,
                     int64_t num_resnets) {
  for (int64_t i = 0; i < num_resnets; ++i)
    expect_residual(expected, core::str(name, ".resnets.", i),
                    i == 0 ? block.in_channels : block.channels, block.channels);
  if (!block.upsample_space) return;
  const int64_t c = block.channels;
  expect_conv(expected, name + ".upsamplers.0.resample.1", {c / 2, c, 3, 3});
  if (block.upsample_time)
    expect_conv(expected, name + ".upsamplers.0.time_conv", {2 * c, c, 3, 1, 1});
}

}  // namespace

std::vector<UpBlockSpec> VaeSpec::up_blocks() const {
  std::vector<UpBlockSpec> blocks;
  int64_t in_channels = mid_channels();
  for (size_t i = 0; i < dim_mult.size(); ++i) {
    UpBlockSpec block{.in_channels = in_channels,
                      .channels = decoder_base_dim * dim_mult[dim_mult.size() - 1 - i]};
    block.keeps_channels = is_residual;
    block.upsample_space = i + 1 < dim_mult.size();
    block.upsample_time = block.upsample_space && upsample_time[i];
    in_channels = block.out_channels();
    blocks.push_back(block);
  }
  return blocks;
}

int64_t VaeSpec::spatial_factor() const {
  return patch_size * (int64_t{1} << (dim_mult.size() - 1));
}

int64_t VaeSpec::temporal_factor() const {
  return int64_t{1} << std::count(upsample_time.begin(), upsample_time.end(), true);
}

VaeSpec parse_vae_spec(const JsonFile& config) {
  VaeSpec spec;
  read_kind(config, spec);
  read_structure(config, spec);
  check_factor(config, "scale_factor_spatial", spec.spatial_factor());
  check_factor(config, "scale_factor_temporal", spec.temporal_factor());
  read_statistics(config, spec);
  return spec;
}

VaeSpec read_vae_spec(const std::string& config_path) {
  return parse_vae_spec(JsonFile::read(config_path));
}

weights::Expectations decoder_tensors(const VaeSpec& spec) {
  Expectations expected;
  expected.ignored_prefixes = {"encoder.", "quant_conv."};
  const int64_t mid = spec.mid_channels();
  expect_conv(expected, "post_quant_conv", {spec.z_dim, spec.z_dim, 1, 1, 1});
  expect_conv(expected, "decoder.conv_in", {mid, spec.z_dim, 3, 3, 3});
  expect_residual(expected, "decoder.mid_block.resnets.0", mid, mid);
  expected.tensors.push_back({"decoder.mid_block.attentions.0.norm.gamma", {mid, 1, 1}});
  expect_conv(expected, "decoder.mid_block.attentions.0.to_qkv", {3 * mid, mid, 1, 1});
  expect_conv(expected, "decoder.mid_block.attentions.0.proj", {mid, mid, 1, 1});
  expect_residual(expected, "decoder.mid_block.resnets.1", mid, mid);
  const auto blocks = spec.up_blocks();
  const auto expect_block = spec.is_residual ? expect_nested_block : expect_up_block;
  for (size_t i = 0; i < blocks.size(); ++i)
    expect_block(expected, core::str("decoder.up_blocks.", i), blocks[i], spec.num_res_blocks + 1);
  const int64_t last = blocks.back().out_channels();
  expected.tensors.push_back({"decoder.norm_out.gamma", {last, 1, 1, 1}});
  expect_conv(expected, "decoder.conv_out", {spec.out_channels, last, 3, 3, 3});
  return expected;
}

}  // namespace t2v::models::vae
