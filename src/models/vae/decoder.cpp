#include "models/vae/decoder.h"

#include <ATen/ops/cat.h>
#include <ATen/ops/tensor.h>

#include "core/check.h"
#include "models/vae/network.h"

namespace t2v::models::vae {
namespace {

constexpr int64_t kNarrowBaseDim = 64;  // the published VAEs have 96

}  // namespace

NetworkForm network_form(const VaeSpec& spec, c10::DeviceType device) {
  return device == c10::DeviceType::CPU || spec.is_residual ? NetworkForm::kChunks
                                                            : NetworkForm::kFrames;
}

at::ScalarType decoder_dtype(const VaeSpec& spec, at::ScalarType run_dtype,
                             c10::DeviceType device) {
  if (spec.decoder_base_dim < kNarrowBaseDim) return at::kFloat;
  if (run_dtype != at::kHalf) return run_dtype;
  return device == c10::DeviceType::CPU ? at::kFloat : at::kBFloat16;
}

at::Tensor denormalise(const VaeSpec& spec, const at::Tensor& latents) {
  T2V_ASSERT(latents.dim() == 4 && latents.size(0) == spec.z_dim);
  const auto column = [&](const std::vector<double>& values) {
    return at::tensor(values, at::kDouble).to(latents.device(), at::kFloat).view({-1, 1, 1, 1});
  };
  return latents.to(at::kFloat) * column(spec.latents_std) + column(spec.latents_mean);
}

struct Stream::State {
  std::shared_ptr<const Network> network;
  at::Device device;
  int64_t z_dim, height, width;
  std::unique_ptr<NetworkState> progress;
};

Stream::Stream(std::unique_ptr<State> state) : state_(std::move(state)) {}
Stream::Stream(Stream&&) noexcept = default;
Stream& Stream::operator=(Stream&&) noexcept = default;
Stream::~Stream() = default;

at::Tensor Stream::next(const at::Tensor& latents) {
  T2V_ASSERT(latents.dim() == 4 && latents.size(1) > 0);
  std::vector<at::Tensor> chunks;
  for (int64_t i = 0; i < latents.size(1); ++i)
    chunks.push_back(leave(enter(latents.narrow(1, i, 1))));
  return chunks.size() == 1 ? chunks[0] : at::cat(chunks, 1);
}

at::Tensor Stream::enter(const at::Tensor& latents) {
  T2V_ASSERT(latents.sizes() == at::IntArrayRef({state_->z_dim, 1, state_->height, state_->width}));
  const at::Tensor z = latents.to(state_->device, at::kFloat).permute({1, 2, 3, 0});
  return state_->progress->enter(z.select(0, 0));
}

at::Tensor Stream::leave(const at::Tensor& features) {
  T2V_ASSERT(features.dim() == 4 && features.is_contiguous() && features.size(0) == 1 &&
             features.size(1) == state_->height && features.size(2) == state_->width);
  return state_->progress->leave(features).permute({3, 0, 1, 2});
}

int64_t Stream::memory_bytes() const { return state_->progress->bytes(); }

Decoder::Decoder(const VaeSpec& spec, const weights::WeightMap& map, at::ScalarType dtype,
                 at::Device device)
    : Decoder(spec, map, dtype, device, network_form(spec, device.type())) {}

Decoder::Decoder(const VaeSpec& spec, const weights::WeightMap& map, at::ScalarType dtype,
                 at::Device device, NetworkForm form)
    : spec_(spec), device_(device) {
  T2V_ASSERT(dtype == at::kFloat || dtype == at::kBFloat16);
  T2V_ASSERT(form == NetworkForm::kChunks || !spec.is_residual);
  weights::Expectations expected = decoder_tensors(spec);
  expected.ignore_extra = true;  // what is read must be there; the rest is open_model's to judge
  map.check(expected);
  const Placement from{.source = map, .dtype = dtype, .device = device};
  network_ = form == NetworkForm::kChunks ? make_chunk_network(spec, from)
                                          : make_frame_network(spec, from);
}

Decoder::~Decoder() = default;
Decoder::Decoder(Decoder&&) noexcept = default;
Decoder& Decoder::operator=(Decoder&&) noexcept = default;

Stream Decoder::start(int64_t height, int64_t width, NetworkPart part) const {
  T2V_ASSERT(height > 0 && width > 0);
  auto state = std::unique_ptr<Stream::State>(new Stream::State{.network = network_,
                                                                .device = device_,
                                                                .z_dim = spec_.z_dim,
                                                                .height = height,
                                                                .width = width,
                                                                .progress = nullptr});
  state->progress = network_->start(height, width, part);
  return Stream(std::move(state));
}

const VaeSpec& Decoder::spec() const noexcept { return spec_; }

}  // namespace t2v::models::vae
