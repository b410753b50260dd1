// The decoder frame by frame, depth first: a frame goes through a level and all levels behind it
// before the level's next frame is made. Work buffers then hold one frame, and the convolutions are
// those over pictures, which cuDNN does best.
#include <ATen/ops/empty.h>
#include <ATen/ops/linear.h>

#include "core/check.h"
#include "models/vae/blocks.h"
#include "models/vae/frame_blocks.h"
#include "models/vae/network.h"
#include "ops/add_bias_residual.h"
#include "ops/vae_norm.h"

namespace t2v::models::vae {
namespace {

// Frames of one latent frame as they are made.
struct Chunk {
  FrameMemory& memory;
  at::Tensor frames;  // [m, H, W, 3] fp32
  int64_t count = 0;
};

class FrameNetwork final : public Network {
 public:
  FrameNetwork(const VaeSpec& spec, const Placement& from);
  [[nodiscard]] std::unique_ptr<NetworkState> start(int64_t height, int64_t width,
                                                    NetworkPart part) const override;
  [[nodiscard]] at::Tensor enter(FrameMemory& memory, const at::Tensor& latents) const;
  [[nodiscard]] at::Tensor leave(FrameMemory& memory, const at::Tensor& features) const;

 private:
  void run_level(size_t level, const at::Tensor& x, Chunk& chunk) const;
  void finish_frame(const at::Tensor& x, Chunk& chunk) const;

  VaeSpec spec_;
  at::ScalarType dtype_;
  at::Device device_;
  size_t num_convs_ = 0;
  at::Tensor post_quant_weight_, post_quant_bias_;  // fp32
  RingConv conv_in_;
  FrameResidualBlock mid_resnet0_;
  AttentionBlock mid_attention_;
  FrameResidualBlock mid_resnet1_;
  std::vector<FrameUpBlock> up_blocks_;
  at::Tensor norm_out_;
  std::optional<RingConv> conv_out_;
};

class FrameState final : public NetworkState {
 public:
  FrameState(const FrameNetwork& network, FrameMemory memory)
      : network_(network), memory_(std::move(memory)) {}
  at::Tensor enter(const at::Tensor& latents) override { return network_.enter(memory_, latents); }
  at::Tensor leave(const at::Tensor& features) override {
    return network_.leave(memory_, features);
  }
  [[nodiscard]] int64_t bytes() const override { return memory_.bytes(); }

 private:
  const FrameNetwork& network_;
  FrameMemory memory_;
};

FrameNetwork::FrameNetwork(const VaeSpec& spec, const Placement& from)
    : spec_(spec),
      dtype_(from.dtype),
      device_(from.device),
      post_quant_weight_(from.host_fp32("post_quant_conv.weight").flatten(1).to(from.device)),
      post_quant_bias_(from.host_fp32("post_quant_conv.bias").to(from.device)),
      conv_in_(from, "decoder.conv_in", num_convs_++),
      mid_resnet0_(from, "decoder.mid_block.resnets.0", num_convs_),
      mid_attention_(from, "decoder.mid_block.attentions.0"),
      mid_resnet1_(from, "decoder.mid_block.resnets.1", num_convs_),
      norm_out_(from.host_fp32("decoder.norm_out.gamma").flatten().to(from.device)) {
  const auto blocks = spec.up_blocks();
  for (size_t i = 0; i < blocks.size(); ++i)
    up_blocks_.emplace_back(from, core::str("decoder.up_blocks.", i), blocks[i],
                            spec.num_res_blocks + 1, num_convs_);
  conv_out_.emplace(from, "decoder.conv_out", num_convs_++);
}

at::Tensor FrameNetwork::enter(FrameMemory& memory, const at::Tensor& latents) const {
  conv_in_.input(memory).copy_(
      at::linear(latents, post_quant_weight_, post_quant_bias_).unsqueeze(0));
  at::Tensor x = memory.buffer(FrameBuffer::kInput, 0);
  ops::add_bias_residual(conv_in_.products(memory), conv_in_.bias(), {}, x);
  x = mid_resnet0_.forward(memory, 0, x, {});
  mid_attention_.forward(x);
  return mid_resnet1_.forward(memory, 0, x, {});
}

at::Tensor FrameNetwork::leave(FrameMemory& memory, const at::Tensor& features) const {
  const int64_t scale = spec_.spatial_factor();
  const int64_t count = memory.first_chunk ? 1 : spec_.temporal_factor();
  Chunk chunk{.memory = memory,
              .frames = at::empty(
                  {count, features.size(1) * scale, features.size(2) * scale, spec_.out_channels},
                  at::TensorOptions().dtype(at::kFloat).device(device_))};
  run_level(0, features, chunk);
  T2V_ASSERT(chunk.count == count);
  memory.first_chunk = false;
  return chunk.frames.clamp_(-1, 1);
}

void FrameNetwork::run_level(size_t level, const at::Tensor& x, Chunk& chunk) const {
  if (level == up_blocks_.size()) return finish_frame(x, chunk);
  const FrameUpBlock& block = up_blocks_[level];
  const at::Tensor y = block.forward(chunk.memory, level, x);
  if (!block.upsampler()) return run_level(level + 1, y, chunk);
  const int64_t count = block.upsampler()->prepare(chunk.memory, level);
  for (int64_t i = 0; i < count; ++i)
    run_level(level + 1, block.upsampler()->enlarge(chunk.memory, level, i), chunk);
}

void FrameNetwork::finish_frame(const at::Tensor& x, Chunk& chunk) const {
  ops::vae_norm(x, {}, norm_out_, ops::NormActivation::kSilu, conv_out_->input(chunk.memory));
  ops::add_bias_residual(conv_out_->products(chunk.memory), conv_out_->bias(), {},
                         chunk.frames.narrow(0, chunk.count++, 1));
}

std::unique_ptr<NetworkState> FrameNetwork::start(int64_t height, int64_t width,
                                                  NetworkPart part) const {
  return std::make_unique<FrameState>(
      *this, FrameMemory(frame_buffers(spec_, height, width, part), dtype_, device_));
}

}  // namespace

std::unique_ptr<Network> make_frame_network(const VaeSpec& spec, const Placement& from) {
  return std::make_unique<FrameNetwork>(spec, from);
}

}  // namespace t2v::models::vae
