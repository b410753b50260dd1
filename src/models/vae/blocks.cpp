#include "models/vae/blocks.h"

#include <ATen/ops/_scaled_dot_product_efficient_attention.h>
#include <ATen/ops/constant_pad_nd.h>
#include <ATen/ops/scaled_dot_product_attention.h>

#include <cmath>

#include "core/check.h"
#include "models/vae/fold_taps.h"
#include "ops/op_timer.h"
#include "ops/vae_norm.h"

namespace t2v::models::vae {
namespace {

using ops::NormActivation;
using Purpose = StreamMemory::Purpose;

at::Tensor load_gamma(const Placement& from, const std::string& name) {
  return from.host_fp32(name + ".gamma").flatten().to(from.device);
}

// A 1x1 convolution as a linear layer.
ops::Linear load_pointwise(const Placement& from, const std::string& name) {
  return {from.host_fp32(name + ".weight").flatten(1).to(from.device, from.dtype),
          from.host_fp32(name + ".bias").to(from.device, from.dtype)};
}

// Softmax(q k^T / sqrt(C)) v for one head of C channels; q, k, v [T, 1, L, C], each a slice of a
// wider tensor.
at::Tensor attend(const std::vector<at::Tensor>& qkv) {
  const ops::TimedOp timed("vae_attention", qkv[0], ops::attention_flop(qkv[0], qkv[0].size(2)));
  if (qkv[0].is_cpu())
    return at::scaled_dot_product_attention(qkv[0].contiguous(), qkv[1].contiguous(),
                                            qkv[2].contiguous());
  // Heads this wide are too wide for LibTorch's flash attention. The kernel that takes them is
  // called by its name: what else could be chosen holds L x L scores in memory. It wants multiples
  // of 8 channels; zeros change nothing.
  const int64_t channels = qkv[0].size(3);
  const int64_t missing = (8 - channels % 8) % 8;
  const auto wide = [&](const at::Tensor& x) {
    return missing == 0 ? x : at::constant_pad_nd(x, {0, missing});
  };
  const at::Tensor mixed = std::get<0>(at::_scaled_dot_product_efficient_attention(
      wide(qkv[0]), wide(qkv[1]), wide(qkv[2]), std::nullopt, /*compute_log_sumexp=*/false,
      /*dropout_p=*/0.0, /*is_causal=*/false, 1 / std::sqrt(static_cast<double>(channels))));
  return mixed.narrow(3, 0, channels);
}

}  // namespace

ResidualBlock::ResidualBlock(const Placement& from, const std::string& name, size_t& next_index)
    : norm1_(load_gamma(from, name + ".norm1")),
      norm2_(load_gamma(from, name + ".norm2")),
      conv1_(from, name + ".conv1", next_index),
      conv2_(from, name + ".conv2", next_index + 1) {
  next_index += 2;
  if (norm1_.size(0) != norm2_.size(0))
    conv_shortcut_.emplace(from.host_fp32(name + ".conv_shortcut.weight"),
                           from.host_fp32(name + ".conv_shortcut.bias"), from.dtype, from.device);
}

at::Tensor ResidualBlock::forward(StreamMemory& memory, const at::Tensor& x) const {
  const VideoSize size = size_of(x);
  VideoSize out_size = size;
  out_size.channels = conv1_.out_channels();
  const at::Tensor hidden = memory.video(Purpose::kHidden, out_size);
  ops::vae_norm(x, {}, norm1_, NormActivation::kSilu, conv1_.input(memory, size));
  conv1_.finish(memory, size, hidden, {});
  ops::vae_norm(hidden, {}, norm2_, NormActivation::kSilu, conv2_.input(memory, out_size));
  at::Tensor out = x;
  if (conv_shortcut_) {
    out = memory.video(Purpose::kBlockA, out_size);
    conv_shortcut_->run(x, out, {});
  }
  conv2_.finish(memory, out_size, out, out);
  return out;
}

AttentionBlock::AttentionBlock(const Placement& from, const std::string& name)
    : norm_(load_gamma(from, name + ".norm")),
      to_qkv_(load_pointwise(from, name + ".to_qkv")),
      proj_(load_pointwise(from, name + ".proj")) {}

void AttentionBlock::forward(at::Tensor& x) const {
  const VideoSize size = size_of(x);
  const int64_t pixels = size.height * size.width;
  at::Tensor normed = at::empty_like(x);
  ops::vae_norm(x, {}, norm_, NormActivation::kNone, normed);
  const auto qkv = to_qkv_(normed.view({-1, size.channels}))
                       .view({size.frames, 1, pixels, 3 * size.channels})
                       .chunk(3, -1);
  const at::Tensor mixed = attend(qkv);
  x.add_(proj_(mixed.reshape({-1, size.channels})).view(x.sizes()));
}

Upsampler::Upsampler(const Placement& from, const std::string& name, bool time,
                     size_t& next_index) {
  const at::Tensor bias = from.host_fp32(name + ".resample.1.bias");
  for (const at::Tensor& weight : folded_phases(from.host_fp32(name + ".resample.1.weight")))
    phases_.emplace_back(weight.unsqueeze(2), bias, from.dtype, from.device);
  if (!time) return;
  index_ = next_index++;
  const auto weights = from.host_fp32(name + ".time_conv.weight").chunk(2, 0);
  const auto biases = from.host_fp32(name + ".time_conv.bias").chunk(2, 0);
  for (size_t parity = 0; parity < 2; ++parity)
    time_conv_.emplace_back(weights[parity], biases[parity], from.dtype, from.device);
}

void Upsampler::double_frames(StreamMemory& memory, const at::Tensor& x,
                              const at::Tensor& out) const {
  VideoSize size = size_of(x);
  size.frames += 2;
  const at::Tensor buffer = memory.video(Purpose::kTimeInput, size);
  at::Tensor& past = memory.cache(index_, size);
  buffer.narrow(0, 0, 2).copy_(past);
  buffer.narrow(0, 2, x.size(0)).copy_(x);
  for (int64_t parity = 0; parity < 2; ++parity)
    time_conv_[static_cast<size_t>(parity)].run(buffer, out.slice(0, parity, std::nullopt, 2), {});
  past.copy_(buffer.narrow(0, x.size(0), 2));
}

at::Tensor Upsampler::forward(StreamMemory& memory, const at::Tensor& x) const {
  VideoSize size = size_of(x);
  const bool doubles = !time_conv_.empty() && !memory.first_chunk;
  if (doubles) size.frames *= 2;
  const at::Tensor bordered = memory.bordered(size);
  if (doubles) {
    double_frames(memory, x, inside(bordered));
  } else {
    inside(bordered).copy_(x);
  }
  const at::Tensor out = memory.video(Purpose::kBlockB, {.frames = size.frames,
                                                         .height = 2 * size.height,
                                                         .width = 2 * size.width,
                                                         .channels = phases_[0].out_channels()});
  for (int64_t row = 0; row < 2; ++row) {
    for (int64_t column = 0; column < 2; ++column) {
      const at::Tensor in =
          bordered.narrow(1, row, size.height + 1).narrow(2, column, size.width + 1);
      const at::Tensor pixels =
          out.slice(1, row, std::nullopt, 2).slice(2, column, std::nullopt, 2);
      phases_[static_cast<size_t>(row * 2 + column)].run(in, pixels, {});
    }
  }
  return out;
}

UpBlock::UpBlock(const Placement& from, const std::string& name, const UpBlockSpec& spec,
                 int64_t num_resnets, size_t& next_index) {
  for (int64_t i = 0; i < num_resnets; ++i)
    resnets_.emplace_back(from, core::str(name, ".resnets.", i), next_index);
  if (!spec.upsample_space) return;
  upsampler_.emplace(from, name + (spec.keeps_channels ? ".upsampler" : ".upsamplers.0"),
                     spec.upsample_time, next_index);
  if (spec.keeps_channels)
    shortcut_.emplace(spec.in_channels, spec.out_channels(),
                      SizeFactors{.time = spec.upsample_time ? 2 : 1, .space = 2}, from.device);
}

at::Tensor UpBlock::forward(StreamMemory& memory, at::Tensor x) const {
  at::Tensor before;  // the residual blocks overwrite x
  if (shortcut_) before = x.clone();
  for (const ResidualBlock& resnet : resnets_) x = resnet.forward(memory, x);
  if (!upsampler_) return x;
  x = upsampler_->forward(memory, x);
  if (shortcut_) shortcut_->add_to(x, before, memory.first_chunk);
  return x;
}

}  // namespace t2v::models::vae
