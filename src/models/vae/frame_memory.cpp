#include "models/vae/frame_memory.h"

#include <ATen/ops/zeros.h>

#include <algorithm>

#include "ops/conv2d.h"

namespace t2v::models::vae {
namespace {

constexpr int64_t kPlaces = 3;

// Walks the network as FrameNetwork is built and collects what each layer needs.
struct Layout {
  std::vector<FrameBufferShape> buffers = {};
  size_t num_convs = 0;
  int64_t products = 0;
  int64_t height = 0, width = 0;  // of the level

  void use_products(int64_t product_height, int64_t product_width, int64_t channels) {
    products = std::max(products, product_height * product_width * ops::Conv2d::padded(channels));
  }
  void add(FrameBuffer kind, size_t level, std::vector<int64_t> shape) {
    buffers.push_back({kind, level, std::move(shape)});
  }
  void causal_conv(int64_t in, int64_t out) {
    add(FrameBuffer::kRing, num_convs++, {height + 2, width + 2, kPlaces, in});
    use_products(height, width, out);
  }
  void resnet(size_t level, int64_t in, int64_t out) {
    causal_conv(in, out);
    causal_conv(out, out);
    if (in != out) add(FrameBuffer::kWide, level, {1, height, width, ops::Conv2d::padded(out)});
  }
  void upsampler(size_t level, const UpBlockSpec& block) {
    const int64_t c = block.channels;
    if (block.upsample_time) {
      add(FrameBuffer::kRing, num_convs++, {height, width, kPlaces, c});
      use_products(height, width, 2 * c);
    }
    add(FrameBuffer::kBordered, level, {block.upsample_time ? 2 : 1, height + 2, width + 2, c});
    use_products(height + 1, width + 1, 4 * block.out_channels());
  }
};

}  // namespace

std::vector<FrameBufferShape> frame_buffers(const VaeSpec& spec, int64_t height, int64_t width,
                                            NetworkPart part) {
  Layout layout{.height = height, .width = width};
  const int64_t mid = spec.mid_channels();
  layout.causal_conv(spec.z_dim, mid);
  layout.resnet(0, mid, mid);
  layout.resnet(0, mid, mid);
  layout.add(FrameBuffer::kInput, 0, {1, height, width, mid});
  if (part == NetworkPart::kRest) {
    layout.buffers.clear();
    layout.products = 0;
  }
  const auto blocks = spec.up_blocks();
  for (size_t level = 0; level < blocks.size() && part != NetworkPart::kEntry; ++level) {
    const UpBlockSpec& block = blocks[level];
    if (level > 0)
      layout.add(FrameBuffer::kInput, level, {1, layout.height, layout.width, block.in_channels});
    for (int64_t i = 0; i <= spec.num_res_blocks; ++i)
      layout.resnet(level, i == 0 ? block.in_channels : block.channels, block.channels);
    if (!block.upsample_space) continue;
    layout.upsampler(level, block);
    layout.height *= 2;
    layout.width *= 2;
  }
  if (part != NetworkPart::kEntry)
    layout.causal_conv(blocks.back().out_channels(), spec.out_channels);
  layout.add(FrameBuffer::kProducts, 0, {layout.products});
  return std::move(layout.buffers);
}

FrameMemory::FrameMemory(const std::vector<FrameBufferShape>& buffers, at::ScalarType dtype,
                         at::Device device) {
  const auto options = at::TensorOptions().dtype(dtype).device(device);
  for (const FrameBufferShape& buffer : buffers) {
    at::Tensor memory = at::zeros(buffer.shape, options);
    if (buffer.kind == FrameBuffer::kRing) {
      rings_[buffer.index].frames = std::move(memory);
    } else {
      buffers_[{buffer.kind, buffer.index}] = std::move(memory);
    }
  }
}

at::Tensor FrameMemory::products(int64_t height, int64_t width, int64_t channels) const {
  return buffer(FrameBuffer::kProducts, 0)
      .narrow(0, 0, height * width * channels)
      .view({1, height, width, channels});
}

int64_t FrameMemory::bytes() const {
  int64_t total = 0;
  for (const auto& [index, ring] : rings_) total += static_cast<int64_t>(ring.frames.nbytes());
  for (const auto& [key, buffer] : buffers_) total += static_cast<int64_t>(buffer.nbytes());
  return total;
}

}  // namespace t2v::models::vae
