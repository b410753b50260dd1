// Encoder of the Wan VAEs (2.1 and 2.2): frames -> latents, causal, one latent frame after the
// other.
#pragma once

#include <ATen/core/Tensor.h>

#include <memory>

#include "models/vae/spec.h"
#include "weights/weight_map.h"

namespace t2v::models::vae {

class EncoderNetwork;

// The type to encode in for a run in `run_dtype`: as decoder_dtype (decoder.h).
at::ScalarType encoder_dtype(const VaeSpec& spec, at::ScalarType run_dtype, c10::DeviceType device);

// (z - mean) / std: what the encoder gives -> what the denoiser works in (unit variance).
// latents [z, T, h, w]; fp32 out.
at::Tensor normalise(const VaeSpec& spec, const at::Tensor& latents);

// The state of one video being encoded: feature caches whose size does not depend on its length.
// Keeps the encoder's weights alive. Use by one thread at a time.
class EncodeStream {
 public:
  EncodeStream(EncodeStream&&) noexcept;
  EncodeStream& operator=(EncodeStream&&) noexcept;
  ~EncodeStream();

  // The frames of the next latent frame, fp32 [3, m, H, W] in [-1, 1], RGB: m = 1 for the first,
  // temporal_factor() for each later one. Returns the mean of its distribution, un-normalised:
  // fp32 [z, 1, h, w], on the encoder's device.
  at::Tensor next(const at::Tensor& frames);
  // Bytes of caches and work buffers so far, without temporaries: encode_bytes.h.
  [[nodiscard]] int64_t memory_bytes() const;

 private:
  friend class Encoder;
  struct State;
  explicit EncodeStream(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

class Encoder {
 public:
  // Checks all names and shapes, then reads the encoder's weights. dtype: kFloat or kBFloat16 (fp32
  // sums, norms in fp32). Throws Error{kModel}; one error lists all missing and misshapen tensors.
  Encoder(const VaeSpec& spec, const weights::WeightMap& map, at::ScalarType dtype,
          at::Device device);
  ~Encoder();
  Encoder(Encoder&&) noexcept;
  Encoder& operator=(Encoder&&) noexcept;

  // Const and thread-safe.
  [[nodiscard]] EncodeStream start() const;
  [[nodiscard]] at::Device device() const noexcept;
  [[nodiscard]] const VaeSpec& spec() const noexcept;

 private:
  std::shared_ptr<const EncoderNetwork> network_;
};

}  // namespace t2v::models::vae
