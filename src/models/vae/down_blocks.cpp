#include "models/vae/down_blocks.h"

#include <ATen/ops/cat.h>
#include <ATen/ops/empty.h>

#include "core/check.h"

namespace t2v::models::vae {

Downsampler::Downsampler(const Placement& from, const std::string& name, bool time,
                         size_t& next_index)
    : space_(from.host_fp32(name + ".resample.1.weight"), from.host_fp32(name + ".resample.1.bias"),
             from.dtype, from.device) {
  if (!time) return;
  index_ = next_index++;
  time_conv_.emplace(from.host_fp32(name + ".time_conv.weight"),
                     from.host_fp32(name + ".time_conv.bias"), from.dtype, from.device);
}

at::Tensor Downsampler::forward(StreamMemory& memory, const at::Tensor& x) const {
  const at::Tensor small = space_.run(x);
  if (!time_conv_) return small;
  const int64_t frames = small.size(0);
  const at::Tensor past = memory.cache(index_, size_of(small)).narrow(0, 1, 1);
  if (memory.first_chunk) {
    past.copy_(small.narrow(0, frames - 1, 1));
    return small;
  }
  T2V_ASSERT(frames % 2 == 0);
  const at::Tensor in = at::cat({past, small});
  const at::Tensor out =
      at::empty({frames / 2, small.size(1), small.size(2), small.size(3)}, small.options());
  for (int64_t i = 0; i < frames / 2; ++i)
    time_conv_->run(in.narrow(0, 2 * i, 3), out.narrow(0, i, 1), {});
  past.copy_(small.narrow(0, frames - 1, 1));
  return out;
}

DownBlock::DownBlock(const Placement& from, const DownBlockNames& names, const DownBlockSpec& spec,
                     bool with_shortcut, size_t& next_index)
    : spec_(spec), with_shortcut_(with_shortcut) {
  for (const std::string& name : names.resnets) resnets_.emplace_back(from, name, next_index);
  if (spec.downsample_space)
    downsampler_.emplace(from, names.downsampler, spec.downsample_time, next_index);
}

at::Tensor DownBlock::forward(StreamMemory& memory, at::Tensor x) const {
  at::Tensor shortcut;  // before the residual blocks overwrite x
  if (with_shortcut_)
    shortcut = average_down(
        x, {.time = spec_.downsample_time ? 2 : 1, .space = spec_.downsample_space ? 2 : 1},
        spec_.channels);
  for (const ResidualBlock& resnet : resnets_) x = resnet.forward(memory, x);
  if (downsampler_) x = downsampler_->forward(memory, x);
  return with_shortcut_ ? x.add_(shortcut) : x;
}

}  // namespace t2v::models::vae
