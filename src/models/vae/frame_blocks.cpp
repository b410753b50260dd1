#include "models/vae/frame_blocks.h"

#include <ATen/ops/cat.h>

#include "core/check.h"
#include "models/vae/fold_taps.h"
#include "ops/add_bias_residual.h"
#include "ops/vae_norm.h"

namespace t2v::models::vae {
namespace {

using ops::NormActivation;

constexpr int64_t kPlaces = 3;

at::Tensor load_vector(const Placement& from, const std::string& name) {
  return from.host_fp32(name).flatten().to(from.device).contiguous();
}

// [O, C, 3, kh, kw] -> [O, 3C, kh, kw] for a ring whose newest frame is at `newest`.
at::Tensor turned(const at::Tensor& weight, int64_t newest) {
  std::vector<at::Tensor> taps;
  for (int64_t place = 0; place < kPlaces; ++place) {
    const int64_t age = (newest - place + kPlaces) % kPlaces;
    taps.push_back(weight.select(2, kPlaces - 1 - age));
  }
  return at::cat(taps, 1);
}

}  // namespace

RingConv::RingConv(const at::Tensor& weight, const at::Tensor& bias, const Placement& from,
                   size_t index)
    : bias_(bias.to(from.device)), border_(weight.size(3) / 2), index_(index) {
  T2V_ASSERT(weight.dim() == 5 && weight.size(2) == kPlaces && weight.size(3) == weight.size(4));
  for (int64_t newest = 0; newest < kPlaces; ++newest)
    convs_[static_cast<size_t>(newest)] =
        ops::Conv2d(turned(weight, newest), from.dtype, from.device);
}

RingConv::RingConv(const Placement& from, const std::string& name, size_t index)
    : RingConv(from.host_fp32(name + ".weight"), from.host_fp32(name + ".bias"), from, index) {}

at::Tensor RingConv::input(FrameMemory& memory) const {
  const FrameMemory::Ring& ring = memory.ring(index_);
  return ring.frames.select(2, ring.count % kPlaces)
      .narrow(0, border_, ring.frames.size(0) - 2 * border_)
      .narrow(1, border_, ring.frames.size(1) - 2 * border_)
      .unsqueeze(0);
}

at::Tensor RingConv::products(FrameMemory& memory) const {
  FrameMemory::Ring& ring = memory.ring(index_);
  const auto newest = static_cast<size_t>(ring.count++ % kPlaces);
  const at::Tensor in = ring.frames.flatten(2).unsqueeze(0);
  const at::Tensor out = memory.products(in.size(1) - 2 * border_, in.size(2) - 2 * border_,
                                         convs_[newest].padded_out_channels());
  convs_[newest].run(in, out);
  return out.narrow(3, 0, out_channels());
}

FrameResidualBlock::FrameResidualBlock(const Placement& from, const std::string& name,
                                       size_t& next_index)
    : norm1_(load_vector(from, name + ".norm1.gamma")),
      norm2_(load_vector(from, name + ".norm2.gamma")),
      conv1_(from, name + ".conv1", next_index),
      conv2_(from, name + ".conv2", next_index + 1),
      end_bias_(conv2_.bias()) {
  next_index += 2;
  if (norm1_.size(0) == norm2_.size(0)) return;
  conv_shortcut_.emplace(from.host_fp32(name + ".conv_shortcut.weight").squeeze(2), from.dtype,
                         from.device);
  end_bias_ = end_bias_ + load_vector(from, name + ".conv_shortcut.bias");
}

at::Tensor FrameResidualBlock::forward(FrameMemory& memory, size_t level, const at::Tensor& x,
                                       const at::Tensor& place) const {
  ops::vae_norm(x, {}, norm1_, NormActivation::kSilu, conv1_.input(memory));
  const at::Tensor hidden = conv1_.products(memory);
  ops::vae_norm(hidden, conv1_.bias(), norm2_, NormActivation::kSilu, conv2_.input(memory));
  at::Tensor residual = x;
  if (conv_shortcut_) {
    const at::Tensor& wide = memory.buffer(FrameBuffer::kWide, level);
    conv_shortcut_->run(x, wide);
    residual = wide.narrow(3, 0, conv2_.out_channels());
  }
  const at::Tensor out = place.defined() ? place : residual;
  ops::add_bias_residual(conv2_.products(memory), end_bias_, residual, out);
  return out;
}

FrameUpsampler::FrameUpsampler(const Placement& from, const std::string& name, bool time,
                               size_t& next_index)
    : phases_(at::cat(folded_phases(from.host_fp32(name + ".resample.1.weight")), 0), from.dtype,
              from.device),
      bias_(load_vector(from, name + ".resample.1.bias")) {
  if (time) time_conv_.emplace(from, name + ".time_conv", next_index++);
}

at::Tensor FrameUpsampler::input(FrameMemory& memory, size_t level) const {
  if (time_conv_ && !memory.first_chunk) return time_conv_->input(memory);
  const at::Tensor& bordered = memory.buffer(FrameBuffer::kBordered, level);
  return bordered.narrow(0, 0, 1)
      .narrow(1, 1, bordered.size(1) - 2)
      .narrow(2, 1, bordered.size(2) - 2);
}

int64_t FrameUpsampler::prepare(FrameMemory& memory, size_t level) const {
  if (!time_conv_ || memory.first_chunk) return 1;
  const at::Tensor both = time_conv_->products(memory);  // even frame, then odd one, in channels
  const at::Tensor& bordered = memory.buffer(FrameBuffer::kBordered, level);
  const int64_t channels = bordered.size(3);
  for (int64_t i = 0; i < 2; ++i) {
    const at::Tensor place =
        bordered.narrow(0, i, 1).narrow(1, 1, both.size(1)).narrow(2, 1, both.size(2));
    ops::add_bias_residual(both.narrow(3, i * channels, channels),
                           time_conv_->bias().narrow(0, i * channels, channels), {}, place);
  }
  return 2;
}

at::Tensor FrameUpsampler::enlarge(const FrameMemory& memory, size_t level, int64_t index) const {
  const at::Tensor in = memory.buffer(FrameBuffer::kBordered, level).narrow(0, index, 1);
  const at::Tensor products =
      memory.products(in.size(1) - 1, in.size(2) - 1, phases_.padded_out_channels());
  phases_.run(in, products);
  const at::Tensor& out = memory.buffer(FrameBuffer::kInput, level + 1);
  const int64_t channels = out.size(3);
  for (int64_t row = 0; row < 2; ++row) {
    for (int64_t column = 0; column < 2; ++column) {
      const at::Tensor phase = products.narrow(1, row, in.size(1) - 2)
                                   .narrow(2, column, in.size(2) - 2)
                                   .narrow(3, (row * 2 + column) * channels, channels);
      ops::add_bias_residual(phase, bias_, {},
                             out.slice(1, row, std::nullopt, 2).slice(2, column, std::nullopt, 2));
    }
  }
  return out;
}

FrameUpBlock::FrameUpBlock(const Placement& from, const std::string& name, const UpBlockSpec& spec,
                           int64_t num_resnets, size_t& next_index) {
  for (int64_t i = 0; i < num_resnets; ++i)
    resnets_.emplace_back(from, core::str(name, ".resnets.", i), next_index);
  if (spec.upsample_space)
    upsampler_.emplace(from, name + ".upsamplers.0", spec.upsample_time, next_index);
}

at::Tensor FrameUpBlock::forward(FrameMemory& memory, size_t level, at::Tensor x) const {
  for (size_t i = 0; i < resnets_.size(); ++i) {
    const bool last = i + 1 == resnets_.size() && upsampler_.has_value();
    x = resnets_[i].forward(memory, level, x,
                            last ? upsampler_->input(memory, level) : at::Tensor());
  }
  return x;
}

}  // namespace t2v::models::vae
