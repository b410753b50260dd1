// The encoder's blocks and tensors, as dimensions and names.
#include "core/check.h"
#include "models/vae/spec.h"

namespace t2v::models::vae {
namespace {

using weights::Expectations;

void expect_conv(Expectations& expected, const std::string& name, std::vector<int64_t> shape) {
  const int64_t out = shape.front();
  expected.tensors.push_back({name + ".weight", std::move(shape)});
  expected.tensors.push_back({name + ".bias", {out}});
}

void expect_resnet(Expectations& expected, const std::string& name, int64_t in, int64_t out) {
  expected.tensors.push_back({name + ".norm1.gamma", {in, 1, 1, 1}});
  expect_conv(expected, name + ".conv1", {out, in, 3, 3, 3});
  expected.tensors.push_back({name + ".norm2.gamma", {out, 1, 1, 1}});
  expect_conv(expected, name + ".conv2", {out, out, 3, 3, 3});
  if (in != out) expect_conv(expected, name + ".conv_shortcut", {out, in, 1, 1, 1});
}

void expect_downsampler(Expectations& expected, const std::string& name,
                        const DownBlockSpec& block) {
  const int64_t c = block.channels;
  expect_conv(expected, name + ".resample.1", {c, c, 3, 3});
  if (block.downsample_time) expect_conv(expected, name + ".time_conv", {c, c, 3, 1, 1});
}

}  // namespace

std::vector<DownBlockSpec> VaeSpec::down_blocks() const {
  std::vector<DownBlockSpec> blocks;
  int64_t in_channels = encoder_base_dim;
  for (size_t i = 0; i < dim_mult.size(); ++i) {
    DownBlockSpec block{.in_channels = in_channels, .channels = encoder_base_dim * dim_mult[i]};
    block.downsample_space = i + 1 < dim_mult.size();
    // The decoder's order, from behind.
    block.downsample_time = block.downsample_space && upsample_time[upsample_time.size() - 1 - i];
    in_channels = block.channels;
    blocks.push_back(block);
  }
  return blocks;
}

// VAE 2.1 has all layers in one list.
std::vector<DownBlockNames> down_block_names(const VaeSpec& spec) {
  std::vector<DownBlockNames> all;
  int64_t layer = 0;
  const auto blocks = spec.down_blocks();
  for (size_t i = 0; i < blocks.size(); ++i) {
    const std::string block = core::str("encoder.down_blocks.", i, ".");
    const auto flat = [&] { return core::str("encoder.down_blocks.", layer++); };
    DownBlockNames names;
    for (int64_t j = 0; j < spec.num_res_blocks; ++j)
      names.resnets.push_back(spec.is_residual ? core::str(block, "resnets.", j) : flat());
    if (blocks[i].downsample_space)
      names.downsampler = spec.is_residual ? block + "downsampler" : flat();
    all.push_back(std::move(names));
  }
  return all;
}

Expectations encoder_tensors(const VaeSpec& spec) {
  Expectations expected;
  expected.ignored_prefixes = {"decoder.", "post_quant_conv."};
  const int64_t first = spec.encoder_base_dim, mid = spec.encoder_mid_channels();
  expect_conv(expected, "encoder.conv_in", {first, spec.out_channels, 3, 3, 3});
  const auto blocks = spec.down_blocks();
  const auto names = down_block_names(spec);
  for (size_t i = 0; i < blocks.size(); ++i) {
    for (size_t j = 0; j < names[i].resnets.size(); ++j)
      expect_resnet(expected, names[i].resnets[j],
                    j == 0 ? blocks[i].in_channels : blocks[i].channels, blocks[i].channels);
    if (blocks[i].downsample_space) expect_downsampler(expected, names[i].downsampler, blocks[i]);
  }
  expect_resnet(expected, "encoder.mid_block.resnets.0", mid, mid);
  expected.tensors.push_back({"encoder.mid_block.attentions.0.norm.gamma", {mid, 1, 1}});
  expect_conv(expected, "encoder.mid_block.attentions.0.to_qkv", {3 * mid, mid, 1, 1});
  expect_conv(expected, "encoder.mid_block.attentions.0.proj", {mid, mid, 1, 1});
  expect_resnet(expected, "encoder.mid_block.resnets.1", mid, mid);
  expected.tensors.push_back({"encoder.norm_out.gamma", {mid, 1, 1, 1}});
  expect_conv(expected, "encoder.conv_out", {2 * spec.z_dim, mid, 3, 3, 3});
  expect_conv(expected, "quant_conv", {2 * spec.z_dim, 2 * spec.z_dim, 1, 1, 1});
  return expected;
}

}  // namespace t2v::models::vae
