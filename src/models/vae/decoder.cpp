#include "models/vae/decoder.h"

#include <ATen/ops/cat.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/linear.h>
#include <ATen/ops/tensor.h>

#include "core/check.h"
#include "models/vae/blocks.h"
#include "ops/vae_norm.h"

namespace t2v::models::vae {

struct DecoderNetwork {
  DecoderNetwork(const VaeSpec& its_spec, const Placement& from);
  // latents [h, w, z] fp32 -> frames [m, H, W, 3] fp32
  [[nodiscard]] at::Tensor decode(StreamMemory& memory, const at::Tensor& latents) const;

  VaeSpec spec;
  at::ScalarType dtype;
  at::Device device;
  size_t num_caches = 0;
  at::Tensor post_quant_weight, post_quant_bias;  // fp32
  CausalConv conv_in;
  ResidualBlock mid_resnet0;
  AttentionBlock mid_attention;
  ResidualBlock mid_resnet1;
  std::vector<UpBlock> up_blocks;
  at::Tensor norm_out;
  CausalConv conv_out;
};

DecoderNetwork::DecoderNetwork(const VaeSpec& its_spec, const Placement& from)
    : spec(its_spec),
      dtype(from.dtype),
      device(from.device),
      post_quant_weight(from.host_fp32("post_quant_conv.weight").flatten(1).to(from.device)),
      post_quant_bias(from.host_fp32("post_quant_conv.bias").to(from.device)),
      conv_in(from, "decoder.conv_in", num_caches++),
      mid_resnet0(from, "decoder.mid_block.resnets.0", num_caches),
      mid_attention(from, "decoder.mid_block.attentions.0"),
      mid_resnet1(from, "decoder.mid_block.resnets.1", num_caches),
      norm_out(from.host_fp32("decoder.norm_out.gamma").flatten().to(from.device)),
      conv_out(from, "decoder.conv_out", num_caches++) {
  const auto blocks = spec.up_blocks();
  for (size_t i = 0; i < blocks.size(); ++i)
    up_blocks.emplace_back(from, core::str("decoder.up_blocks.", i), blocks[i],
                           spec.num_res_blocks + 1, num_caches);
}

at::Tensor DecoderNetwork::decode(StreamMemory& memory, const at::Tensor& latents) const {
  const at::Tensor z = at::linear(latents, post_quant_weight, post_quant_bias).unsqueeze(0);
  VideoSize size = size_of(z);
  conv_in.input(memory, size).copy_(z);
  VideoSize mid = size;
  mid.channels = conv_in.out_channels();
  at::Tensor x = memory.video(StreamMemory::Purpose::kBlockB, mid);
  conv_in.finish(memory, size, x, {});
  x = mid_resnet0.forward(memory, x);
  mid_attention.forward(x);
  x = mid_resnet1.forward(memory, x);
  for (const UpBlock& block : up_blocks) x = block.forward(memory, x);
  size = size_of(x);
  ops::vae_norm(x, norm_out, ops::NormActivation::kSilu, conv_out.input(memory, size));
  const at::Tensor frames = at::empty({size.frames, size.height, size.width, spec.out_channels},
                                      at::TensorOptions().dtype(at::kFloat).device(device));
  conv_out.finish(memory, size, frames, {});
  memory.first_chunk = false;
  return frames.clamp_(-1, 1);
}

at::Tensor denormalise(const VaeSpec& spec, const at::Tensor& latents) {
  T2V_ASSERT(latents.dim() == 4 && latents.size(0) == spec.z_dim);
  const auto column = [&](const std::vector<double>& values) {
    return at::tensor(values, at::kDouble).to(latents.device(), at::kFloat).view({-1, 1, 1, 1});
  };
  return latents.to(at::kFloat) * column(spec.latents_std) + column(spec.latents_mean);
}

struct Stream::State {
  std::shared_ptr<const DecoderNetwork> network;
  int64_t height, width;
  StreamMemory memory;
};

Stream::Stream(std::unique_ptr<State> state) : state_(std::move(state)) {}
Stream::Stream(Stream&&) noexcept = default;
Stream& Stream::operator=(Stream&&) noexcept = default;
Stream::~Stream() = default;

at::Tensor Stream::next(const at::Tensor& latents) {
  const DecoderNetwork& network = *state_->network;
  T2V_ASSERT(latents.dim() == 4 && latents.size(0) == network.spec.z_dim && latents.size(1) > 0);
  T2V_ASSERT(latents.size(2) == state_->height && latents.size(3) == state_->width);
  const at::Tensor z = latents.to(network.device, at::kFloat).permute({1, 2, 3, 0});
  std::vector<at::Tensor> chunks;
  for (int64_t i = 0; i < z.size(0); ++i)
    chunks.push_back(network.decode(state_->memory, z.select(0, i)));
  const at::Tensor frames = chunks.size() == 1 ? chunks[0] : at::cat(chunks, 0);
  return frames.permute({3, 0, 1, 2});
}

int64_t Stream::memory_bytes() const { return state_->memory.bytes(); }

Decoder::Decoder(const VaeSpec& spec, const weights::WeightMap& map, at::ScalarType dtype,
                 at::Device device) {
  T2V_ASSERT(dtype == at::kFloat || dtype == at::kBFloat16);
  T2V_REQUIRE(!spec.is_residual, ErrorKind::kModel, map.label(),
              ": the VAE 2.2 of Wan2.2-TI2V-5B is not in this version of t2v (",
              map.checkpoint().path(), ")");
  weights::Expectations expected = decoder_tensors(spec);
  expected.ignore_extra = true;  // what is read must be there; the rest is open_model's to judge
  map.check(expected);
  network_ = std::make_shared<DecoderNetwork>(
      spec, Placement{.source = map, .dtype = dtype, .device = device});
}

Decoder::~Decoder() = default;
Decoder::Decoder(Decoder&&) noexcept = default;
Decoder& Decoder::operator=(Decoder&&) noexcept = default;

Stream Decoder::start(int64_t height, int64_t width) const {
  T2V_ASSERT(height > 0 && width > 0);
  auto state = std::unique_ptr<Stream::State>(
      new Stream::State{.network = network_,
                        .height = height,
                        .width = width,
                        .memory = StreamMemory(network_->dtype, network_->device)});
  return Stream(std::move(state));
}

const VaeSpec& Decoder::spec() const noexcept { return network_->spec; }

}  // namespace t2v::models::vae
