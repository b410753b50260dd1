#include "models/vae/causal_conv.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/zeros.h>

#include "core/check.h"

namespace t2v::models::vae {
namespace {

constexpr int64_t kPast = 2;  // frames: the extent in time of every kernel, less one
constexpr int kBordered = -1;

}  // namespace

VideoSize size_of(const at::Tensor& video) {
  return {.frames = video.size(0),
          .height = video.size(1),
          .width = video.size(2),
          .channels = video.size(3)};
}

at::Tensor StreamMemory::grown(const Key& key, const VideoSize& size) {
  at::Tensor& buffer = buffers_[key];
  if (!buffer.defined() || buffer.size(0) < size.frames) {
    buffer = at::Tensor();  // the old one goes first
    const auto options = at::TensorOptions().dtype(dtype_).device(device_);
    const std::vector<int64_t> shape = {size.frames, size.height, size.width, size.channels};
    buffer = key.first == kBordered ? at::zeros(shape, options) : at::empty(shape, options);
  }
  return buffer.narrow(0, 0, size.frames);
}

at::Tensor StreamMemory::video(Purpose purpose, const VideoSize& size) {
  return grown({static_cast<int>(purpose), {size.height, size.width, size.channels}}, size);
}

at::Tensor StreamMemory::bordered(const VideoSize& size) {
  VideoSize outer = size;
  outer.height += 2;
  outer.width += 2;
  return grown({kBordered, {outer.height, outer.width, outer.channels}}, outer);
}

at::Tensor& StreamMemory::cache(size_t index, const VideoSize& size) {
  at::Tensor& frames = caches_[index];
  if (!frames.defined())
    frames = at::zeros({kPast, size.height, size.width, size.channels},
                       at::TensorOptions().dtype(dtype_).device(device_));
  return frames;
}

int64_t StreamMemory::bytes() const {
  int64_t total = 0;
  for (const auto& [key, buffer] : buffers_) total += static_cast<int64_t>(buffer.nbytes());
  for (const auto& [index, cache] : caches_) total += static_cast<int64_t>(cache.nbytes());
  return total;
}

at::Tensor inside(const at::Tensor& bordered) {
  return bordered.narrow(1, 1, bordered.size(1) - 2).narrow(2, 1, bordered.size(2) - 2);
}

CausalConv::CausalConv(const Placement& from, const std::string& name, size_t index)
    : conv_(from.host_fp32(name + ".weight"), from.host_fp32(name + ".bias"), from.dtype,
            from.device),
      index_(index) {}

at::Tensor CausalConv::input(StreamMemory& memory, const VideoSize& size) const {
  VideoSize all = size;
  all.frames += kPast;
  at::Tensor frames = inside(memory.bordered(all));
  frames.narrow(0, 0, kPast).copy_(memory.cache(index_, size));
  return frames.narrow(0, kPast, size.frames);
}

void CausalConv::finish(StreamMemory& memory, const VideoSize& size, const at::Tensor& out,
                        const at::Tensor& residual) const {
  VideoSize all = size;
  all.frames += kPast;
  const at::Tensor buffer = memory.bordered(all);
  conv_.run(buffer, out, residual);
  memory.cache(index_, size).copy_(inside(buffer).narrow(0, size.frames, kPast));
}

}  // namespace t2v::models::vae
