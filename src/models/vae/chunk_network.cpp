// The decoder over whole chunks: all frames of one latent frame go through each layer together, so
// that our loops for the CPU can use Winograd's form in time. Each causal convolution keeps a copy
// of its last two input frames.
#include <ATen/ops/empty.h>
#include <ATen/ops/linear.h>

#include "core/check.h"
#include "models/vae/blocks.h"
#include "models/vae/network.h"
#include "ops/vae_norm.h"

namespace t2v::models::vae {
namespace {

class ChunkNetwork final : public Network {
 public:
  ChunkNetwork(const VaeSpec& spec, const Placement& from);
  [[nodiscard]] std::unique_ptr<NetworkState> start(int64_t height, int64_t width,
                                                    NetworkPart part) const override;
  [[nodiscard]] at::Tensor enter(StreamMemory& memory, const at::Tensor& latents) const;
  [[nodiscard]] at::Tensor leave(StreamMemory& memory, at::Tensor x) const;

 private:
  VaeSpec spec_;
  at::ScalarType dtype_;
  at::Device device_;
  size_t num_caches_ = 0;
  at::Tensor post_quant_weight_, post_quant_bias_;  // fp32
  CausalConv conv_in_;
  ResidualBlock mid_resnet0_;
  AttentionBlock mid_attention_;
  ResidualBlock mid_resnet1_;
  std::vector<UpBlock> up_blocks_;
  at::Tensor norm_out_;
  CausalConv conv_out_;
};

class ChunkState final : public NetworkState {
 public:
  ChunkState(const ChunkNetwork& network, StreamMemory memory)
      : network_(network), memory_(std::move(memory)) {}
  at::Tensor enter(const at::Tensor& latents) override { return network_.enter(memory_, latents); }
  at::Tensor leave(const at::Tensor& features) override {
    return network_.leave(memory_, features);
  }
  [[nodiscard]] int64_t bytes() const override { return memory_.bytes(); }

 private:
  const ChunkNetwork& network_;
  StreamMemory memory_;
};

ChunkNetwork::ChunkNetwork(const VaeSpec& spec, const Placement& from)
    : spec_(spec),
      dtype_(from.dtype),
      device_(from.device),
      post_quant_weight_(from.host_fp32("post_quant_conv.weight").flatten(1).to(from.device)),
      post_quant_bias_(from.host_fp32("post_quant_conv.bias").to(from.device)),
      conv_in_(from, "decoder.conv_in", num_caches_++),
      mid_resnet0_(from, "decoder.mid_block.resnets.0", num_caches_),
      mid_attention_(from, "decoder.mid_block.attentions.0"),
      mid_resnet1_(from, "decoder.mid_block.resnets.1", num_caches_),
      norm_out_(from.host_fp32("decoder.norm_out.gamma").flatten().to(from.device)),
      conv_out_(from, "decoder.conv_out", num_caches_++) {
  const auto blocks = spec.up_blocks();
  for (size_t i = 0; i < blocks.size(); ++i)
    up_blocks_.emplace_back(from, core::str("decoder.up_blocks.", i), blocks[i],
                            spec.num_res_blocks + 1, num_caches_);
}

at::Tensor ChunkNetwork::enter(StreamMemory& memory, const at::Tensor& latents) const {
  const at::Tensor z = at::linear(latents, post_quant_weight_, post_quant_bias_).unsqueeze(0);
  const VideoSize size = size_of(z);
  conv_in_.input(memory, size).copy_(z);
  VideoSize mid = size;
  mid.channels = conv_in_.out_channels();
  at::Tensor x = memory.video(StreamMemory::Purpose::kBlockB, mid);
  conv_in_.finish(memory, size, x, {});
  x = mid_resnet0_.forward(memory, x);
  mid_attention_.forward(x);
  return mid_resnet1_.forward(memory, x);
}

at::Tensor ChunkNetwork::leave(StreamMemory& memory, at::Tensor x) const {
  for (const UpBlock& block : up_blocks_) x = block.forward(memory, x);
  const VideoSize size = size_of(x);
  ops::vae_norm(x, {}, norm_out_, ops::NormActivation::kSilu, conv_out_.input(memory, size));
  const at::Tensor frames = at::empty({size.frames, size.height, size.width, spec_.out_channels},
                                      at::TensorOptions().dtype(at::kFloat).device(device_));
  conv_out_.finish(memory, size, frames, {});
  memory.first_chunk = false;
  return unpack_pixels(frames.clamp_(-1, 1), spec_.patch_size);
}

std::unique_ptr<NetworkState> ChunkNetwork::start(int64_t /*height*/, int64_t /*width*/,
                                                  NetworkPart /*part*/) const {
  return std::make_unique<ChunkState>(*this, StreamMemory(dtype_, device_));
}

}  // namespace

std::unique_ptr<Network> make_chunk_network(const VaeSpec& spec, const Placement& from) {
  return std::make_unique<ChunkNetwork>(spec, from);
}

}  // namespace t2v::models::vae
