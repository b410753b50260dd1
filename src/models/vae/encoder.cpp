#include "models/vae/encoder.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/linear.h>
#include <ATen/ops/tensor.h>

#include "core/check.h"
#include "models/vae/down_blocks.h"
#include "ops/vae_norm.h"

namespace t2v::models::vae {
namespace {

constexpr int64_t kNarrowBaseDim = 64;  // the published VAEs have 96 and 160

}  // namespace

at::ScalarType encoder_dtype(const VaeSpec& spec, at::ScalarType run_dtype,
                             c10::DeviceType device) {
  if (spec.encoder_base_dim < kNarrowBaseDim) return at::kFloat;
  if (run_dtype != at::kHalf) return run_dtype;
  return device == c10::DeviceType::CPU ? at::kFloat : at::kBFloat16;
}

at::Tensor normalise(const VaeSpec& spec, const at::Tensor& latents) {
  T2V_ASSERT(latents.dim() == 4 && latents.size(0) == spec.z_dim);
  const auto column = [&](const std::vector<double>& values) {
    return at::tensor(values, at::kDouble).to(latents.device(), at::kFloat).view({-1, 1, 1, 1});
  };
  return (latents.to(at::kFloat) - column(spec.latents_mean)) / column(spec.latents_std);
}

class EncoderNetwork {
 public:
  EncoderNetwork(const VaeSpec& vae, const Placement& from);
  // frames [m, H, W, C], in the network's type, packed into channels where the VAE does so.
  [[nodiscard]] at::Tensor run(StreamMemory& memory, const at::Tensor& frames) const;

  [[nodiscard]] StreamMemory start() const { return {dtype_, device_}; }
  [[nodiscard]] const VaeSpec& spec() const noexcept { return spec_; }
  [[nodiscard]] at::Device device() const noexcept { return device_; }
  [[nodiscard]] at::ScalarType dtype() const noexcept { return dtype_; }

 private:
  VaeSpec spec_;
  at::ScalarType dtype_;
  at::Device device_;
  size_t num_caches_ = 0;
  CausalConv conv_in_;
  std::vector<DownBlock> down_blocks_;
  ResidualBlock mid_resnet0_;
  AttentionBlock mid_attention_;
  ResidualBlock mid_resnet1_;
  at::Tensor norm_out_;
  CausalConv conv_out_;
  at::Tensor quant_weight_, quant_bias_;  // fp32, the rows of the mean
};

EncoderNetwork::EncoderNetwork(const VaeSpec& vae, const Placement& from)
    : spec_(vae),
      dtype_(from.dtype),
      device_(from.device),
      conv_in_(from, "encoder.conv_in", num_caches_++),
      mid_resnet0_(from, "encoder.mid_block.resnets.0", num_caches_),
      mid_attention_(from, "encoder.mid_block.attentions.0"),
      mid_resnet1_(from, "encoder.mid_block.resnets.1", num_caches_),
      norm_out_(from.host_fp32("encoder.norm_out.gamma").flatten().to(from.device)),
      conv_out_(from, "encoder.conv_out", num_caches_++),
      quant_weight_(
          from.host_fp32("quant_conv.weight").flatten(1).narrow(0, 0, vae.z_dim).to(from.device)),
      quant_bias_(from.host_fp32("quant_conv.bias").narrow(0, 0, vae.z_dim).to(from.device)) {
  const auto blocks = spec_.down_blocks();
  const auto names = down_block_names(spec_);
  for (size_t i = 0; i < blocks.size(); ++i)
    down_blocks_.emplace_back(from, names[i], blocks[i], spec_.is_residual, num_caches_);
}

at::Tensor EncoderNetwork::run(StreamMemory& memory, const at::Tensor& frames) const {
  const VideoSize size = size_of(frames);
  conv_in_.input(memory, size).copy_(frames);
  VideoSize wide = size;
  wide.channels = conv_in_.out_channels();
  at::Tensor x = memory.video(StreamMemory::Purpose::kBlockB, wide);
  conv_in_.finish(memory, size, x, {});
  for (const DownBlock& block : down_blocks_) x = block.forward(memory, x);
  x = mid_resnet0_.forward(memory, x);
  mid_attention_.forward(x);
  x = mid_resnet1_.forward(memory, x);
  const VideoSize last = size_of(x);
  ops::vae_norm(x, {}, norm_out_, ops::NormActivation::kSilu, conv_out_.input(memory, last));
  const at::Tensor moments = at::empty({last.frames, last.height, last.width, 2 * spec_.z_dim},
                                       at::TensorOptions().dtype(at::kFloat).device(device_));
  conv_out_.finish(memory, last, moments, {});
  memory.first_chunk = false;
  return at::linear(moments, quant_weight_, quant_bias_);
}

struct EncodeStream::State {
  std::shared_ptr<const EncoderNetwork> network;
  StreamMemory memory;
};

EncodeStream::EncodeStream(std::unique_ptr<State> state) : state_(std::move(state)) {}
EncodeStream::EncodeStream(EncodeStream&&) noexcept = default;
EncodeStream& EncodeStream::operator=(EncodeStream&&) noexcept = default;
EncodeStream::~EncodeStream() = default;

at::Tensor EncodeStream::next(const at::Tensor& frames) {
  const EncoderNetwork& network = *state_->network;
  const VaeSpec& spec = network.spec();
  const int64_t scale = spec.spatial_factor();
  T2V_ASSERT(frames.dim() == 4 && frames.size(0) == 3 && frames.size(2) % scale == 0 &&
             frames.size(3) % scale == 0);
  T2V_ASSERT(frames.size(1) == (state_->memory.first_chunk ? 1 : spec.temporal_factor()));
  const at::Tensor pixels = frames.to(network.device(), network.dtype()).permute({1, 2, 3, 0});
  const at::Tensor mean = network.run(state_->memory, pack_pixels(pixels, spec.patch_size));
  T2V_ASSERT(mean.size(0) == 1);
  return mean.permute({3, 0, 1, 2});
}

int64_t EncodeStream::memory_bytes() const { return state_->memory.bytes(); }

Encoder::Encoder(const VaeSpec& spec, const weights::WeightMap& map, at::ScalarType dtype,
                 at::Device device) {
  T2V_ASSERT(dtype == at::kFloat || dtype == at::kBFloat16);
  T2V_REQUIRE(map.contains("encoder.conv_in.weight"), ErrorKind::kModel, map.label(),
              ": this VAE has no encoder, which pictures and videos need (",
              map.checkpoint().path(), "); try --vae with a whole VAE");
  weights::Expectations expected = encoder_tensors(spec);
  expected.ignore_extra = true;  // what is read must be there; the rest is open_model's to judge
  map.check(expected);
  network_ = std::make_shared<const EncoderNetwork>(
      spec, Placement{.source = map, .dtype = dtype, .device = device});
}

Encoder::~Encoder() = default;
Encoder::Encoder(Encoder&&) noexcept = default;
Encoder& Encoder::operator=(Encoder&&) noexcept = default;

EncodeStream Encoder::start() const {
  return EncodeStream(std::unique_ptr<EncodeStream::State>(
      new EncodeStream::State{.network = network_, .memory = network_->start()}));
}

at::Device Encoder::device() const noexcept { return network_->device(); }
const VaeSpec& Encoder::spec() const noexcept { return network_->spec(); }

}  // namespace t2v::models::vae
