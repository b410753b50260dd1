#include "models/vae/reference.h"

#include <ATen/ops/cat.h>
#include <ATen/ops/constant_pad_nd.h>
#include <ATen/ops/conv2d.h>
#include <ATen/ops/conv3d.h>
#include <ATen/ops/linalg_vector_norm.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/silu.h>
#include <ATen/ops/softmax.h>

#include <cmath>

#include "core/check.h"

namespace t2v::models::vae::reference {
namespace {

// Videos are [1, C, T, H, W].
struct Network {
  const weights::WeightMap& map;

  [[nodiscard]] at::Tensor tensor(const std::string& name) const {
    return map.take(name, at::kFloat);
  }

  // Zeros around each frame, and two frames of zeros before the first.
  [[nodiscard]] at::Tensor causal_conv(const at::Tensor& x, const std::string& name) const {
    const at::Tensor weight = tensor(name + ".weight");
    const int64_t t = weight.size(2) - 1, h = weight.size(3) / 2, w = weight.size(4) / 2;
    return at::conv3d(at::constant_pad_nd(x, {w, w, h, h, t, 0}), weight, tensor(name + ".bias"));
  }

  [[nodiscard]] at::Tensor norm(const at::Tensor& x, const std::string& name) const {
    const at::Tensor length =
        at::linalg_vector_norm(x, 2, at::IntArrayRef({1}), true).clamp_min(1e-12);
    return x / length * std::sqrt(static_cast<double>(x.size(1))) *
           tensor(name + ".gamma").view({1, -1, 1, 1, 1});
  }

  [[nodiscard]] at::Tensor resnet(const at::Tensor& x, const std::string& name) const {
    at::Tensor h = causal_conv(at::silu(norm(x, name + ".norm1")), name + ".conv1");
    h = causal_conv(at::silu(norm(h, name + ".norm2")), name + ".conv2");
    return h + (h.size(1) == x.size(1) ? x : causal_conv(x, name + ".conv_shortcut"));
  }

  [[nodiscard]] at::Tensor attention(const at::Tensor& x, const std::string& name) const {
    const auto pointwise = [&](const at::Tensor& rows, const std::string& layer) {
      return at::matmul(rows, tensor(layer + ".weight").flatten(1).t()) + tensor(layer + ".bias");
    };
    const at::Tensor rows =
        norm(x, name + ".norm").squeeze(0).permute({1, 2, 3, 0}).flatten(1, 2);  // [T, HW, C]
    const auto qkv = pointwise(rows, name + ".to_qkv").chunk(3, -1);
    const double scale = 1 / std::sqrt(static_cast<double>(x.size(1)));
    const at::Tensor scores = at::softmax(at::matmul(qkv[0], qkv[1].transpose(1, 2)) * scale, -1);
    const at::Tensor y = pointwise(at::matmul(scores, qkv[2]), name + ".proj");
    return x + y.permute({2, 0, 1}).reshape_as(x);
  }

  // All frames but the first become two.
  [[nodiscard]] at::Tensor double_frames(const at::Tensor& x, const std::string& name) const {
    const int64_t later = x.size(2) - 1;
    if (later == 0) return x;
    const at::Tensor y = causal_conv(x.narrow(2, 1, later), name);  // [1, 2C, later, H, W]
    const at::Tensor pairs =
        y.view({1, 2, x.size(1), later, x.size(3), x.size(4)}).permute({0, 2, 3, 1, 4, 5});
    return at::cat({x.narrow(2, 0, 1), pairs.flatten(2, 3)}, 2);
  }

  [[nodiscard]] at::Tensor double_space(const at::Tensor& x, const std::string& name) const {
    const at::Tensor large =
        x.repeat_interleave(2, 3).repeat_interleave(2, 4).squeeze(0).transpose(0, 1);
    const at::Tensor y = at::conv2d(large, tensor(name + ".weight"), tensor(name + ".bias"), 1, 1);
    return y.transpose(0, 1).unsqueeze(0);
  }

  // Zeros behind the last row and column.
  [[nodiscard]] at::Tensor halve_space(const at::Tensor& x, const std::string& name) const {
    const at::Tensor large = at::constant_pad_nd(x.squeeze(0).transpose(0, 1), {0, 1, 0, 1});
    const at::Tensor y = at::conv2d(large, tensor(name + ".weight"), tensor(name + ".bias"), 2);
    return y.transpose(0, 1).unsqueeze(0);
  }

  // The first frame stays; of those behind it, every second one sees itself and two before it.
  [[nodiscard]] at::Tensor halve_frames(const at::Tensor& x, const std::string& name) const {
    if (x.size(2) == 1) return x;
    const at::Tensor y =
        at::conv3d(x, tensor(name + ".weight"), tensor(name + ".bias"), at::IntArrayRef({2, 1, 1}));
    return at::cat({x.narrow(2, 0, 1), y}, 2);
  }
};

// VAE 2.2: each value of x is repeated, and the repeats are pixels in the order channel, frame,
// row, column; frames before the first are dropped.
at::Tensor spread(const at::Tensor& x, int64_t channels, int64_t time) {
  const int64_t t = x.size(2), h = x.size(3), w = x.size(4);
  const at::Tensor all = x.repeat_interleave(channels * time * 4 / x.size(1), 1);
  const at::Tensor large = all.view({channels, time, 2, 2, t, h, w})
                               .permute({0, 4, 1, 5, 2, 6, 3})
                               .reshape({1, channels, t * time, 2 * h, 2 * w});
  return large.narrow(2, time - 1, t * time - time + 1);
}

// VAE 2.2: the other way; frames of zeros come before the first.
at::Tensor average(const at::Tensor& x, int64_t channels, int64_t time, int64_t space) {
  const at::Tensor all = at::constant_pad_nd(x, {0, 0, 0, 0, time - 1, 0});
  const int64_t t = all.size(2) / time, h = x.size(3) / space, w = x.size(4) / space;
  return all.reshape({x.size(1), t, time, h, space, w, space})
      .permute({0, 2, 4, 6, 1, 3, 5})
      .reshape({1, channels, -1, t, h, w})
      .mean(2);
}

}  // namespace

at::Tensor decode(const VaeSpec& spec, const weights::WeightMap& map, const at::Tensor& latents) {
  T2V_ASSERT(latents.dim() == 4 && latents.size(0) == spec.z_dim);
  const Network network{map};
  at::Tensor x = network.causal_conv(latents.to(at::kFloat).unsqueeze(0), "post_quant_conv");
  x = network.causal_conv(x, "decoder.conv_in");
  x = network.resnet(x, "decoder.mid_block.resnets.0");
  x = network.attention(x, "decoder.mid_block.attentions.0");
  x = network.resnet(x, "decoder.mid_block.resnets.1");
  const auto blocks = spec.up_blocks();
  for (size_t i = 0; i < blocks.size(); ++i) {
    const std::string name = core::str("decoder.up_blocks.", i);
    const std::string upsampler = name + (spec.is_residual ? ".upsampler" : ".upsamplers.0");
    const at::Tensor before = x;
    for (int64_t j = 0; j <= spec.num_res_blocks; ++j)
      x = network.resnet(x, core::str(name, ".resnets.", j));
    if (blocks[i].upsample_time) x = network.double_frames(x, upsampler + ".time_conv");
    if (blocks[i].upsample_space) x = network.double_space(x, upsampler + ".resample.1");
    if (blocks[i].upsample_space && spec.is_residual)
      x = x + spread(before, x.size(1), blocks[i].upsample_time ? 2 : 1);
  }
  x = network.causal_conv(at::silu(network.norm(x, "decoder.norm_out")), "decoder.conv_out");
  x = x.squeeze(0).clamp(-1, 1);
  if (spec.patch_size == 1) return x;
  // Channels are (colour, column, row).
  const int64_t p = spec.patch_size;
  return x.view({3, p, p, x.size(1), x.size(2), x.size(3)})
      .permute({0, 3, 4, 2, 5, 1})
      .reshape({3, x.size(1), x.size(2) * p, x.size(3) * p});
}

at::Tensor encode(const VaeSpec& spec, const weights::WeightMap& map, const at::Tensor& frames) {
  T2V_ASSERT(frames.dim() == 4 && frames.size(0) == 3);
  const Network network{map};
  const int64_t p = spec.patch_size;
  at::Tensor x = frames.to(at::kFloat)
                     .reshape({3, frames.size(1), frames.size(2) / p, p, frames.size(3) / p, p})
                     .permute({0, 5, 3, 1, 2, 4})
                     .reshape({1, 3 * p * p, frames.size(1), frames.size(2) / p, -1});
  x = network.causal_conv(x, "encoder.conv_in");
  const auto blocks = spec.down_blocks();
  const auto names = down_block_names(spec);
  for (size_t i = 0; i < blocks.size(); ++i) {
    const at::Tensor before = x;
    for (const std::string& resnet : names[i].resnets) x = network.resnet(x, resnet);
    if (blocks[i].downsample_space)
      x = network.halve_space(x, names[i].downsampler + ".resample.1");
    if (blocks[i].downsample_time) x = network.halve_frames(x, names[i].downsampler + ".time_conv");
    if (spec.is_residual)
      x = x + average(before, x.size(1), blocks[i].downsample_time ? 2 : 1,
                      blocks[i].downsample_space ? 2 : 1);
  }
  x = network.resnet(x, "encoder.mid_block.resnets.0");
  x = network.attention(x, "encoder.mid_block.attentions.0");
  x = network.resnet(x, "encoder.mid_block.resnets.1");
  x = network.causal_conv(at::silu(network.norm(x, "encoder.norm_out")), "encoder.conv_out");
  return network.causal_conv(x, "quant_conv").squeeze(0).narrow(0, 0, spec.z_dim);
}

}  // namespace t2v::models::vae::reference
