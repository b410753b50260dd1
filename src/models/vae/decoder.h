// Decoder of the Wan VAEs (2.1 and 2.2): latents -> frames, causal, one latent frame after the
// other.
#pragma once

#include <ATen/core/Tensor.h>

#include <memory>

#include "models/vae/network_part.h"
#include "models/vae/spec.h"
#include "weights/weight_map.h"

namespace t2v::models::vae {

class Network;

// Two forms of the network with equal results up to rounding. kChunks: all frames of a latent frame
// together, for our loops on the CPU. kFrames: one after the other over rings of three frames,
// without copies to caches, for cuDNN; not for VAE 2.2.
enum class NetworkForm { kChunks, kFrames };
NetworkForm network_form(const VaeSpec& spec, c10::DeviceType device);

// The type to decode in for a run in `run_dtype`. fp16 would clip in the VAE: fp32 on the CPU, bf16
// on CUDA. In a narrow VAE few channels share the rounding errors of bf16, and fp32 costs little.
at::ScalarType decoder_dtype(const VaeSpec& spec, at::ScalarType run_dtype, c10::DeviceType device);

// z * std + mean: what the denoiser made (unit variance) -> what the decoder takes.
// latents [z, T, h, w]; fp32 out.
at::Tensor denormalise(const VaeSpec& spec, const at::Tensor& latents);

// The state of one video being decoded: feature caches whose size does not depend on its length.
// Keeps the decoder's weights alive. Use by one thread at a time; several streams may run at once.
class Stream {
 public:
  Stream(Stream&&) noexcept;
  Stream& operator=(Stream&&) noexcept;
  ~Stream();

  // latents [z, n, h, w], the next n >= 1 latent frames, un-normalised, any float dtype; returns
  // their frames [3, m, H, W], RGB, fp32 in [-1, 1]: m = 1 for the video's first latent frame and
  // temporal_factor() for each later one. n = 1 keeps the memory smallest.
  // The returned tensor may be channels-last in memory.
  at::Tensor next(const at::Tensor& latents);

  // The two halves of next(), for one latent frame: conv_in and the mid block -> features
  // [1, h, w, C], good until the next call; the up blocks, which overwrite their features
  // (contiguous, on the decoder's device).
  at::Tensor enter(const at::Tensor& latents);
  at::Tensor leave(const at::Tensor& features);

  // Bytes of caches and work buffers so far; constant from the third latent frame on. Temporaries
  // and weights are not in it: decode_bytes.h.
  [[nodiscard]] int64_t memory_bytes() const;

 private:
  friend class Decoder;
  struct State;
  explicit Stream(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

class Decoder {
 public:
  // Checks all names and shapes, then reads the decoder's weights. dtype: kFloat or kBFloat16 (fp32
  // sums, norms in fp32). Throws Error{kModel}; one error lists all missing and misshapen tensors.
  Decoder(const VaeSpec& spec, const weights::WeightMap& map, at::ScalarType dtype,
          at::Device device);
  Decoder(const VaeSpec& spec, const weights::WeightMap& map, at::ScalarType dtype,
          at::Device device, NetworkForm form);
  ~Decoder();
  Decoder(Decoder&&) noexcept;
  Decoder& operator=(Decoder&&) noexcept;

  // height, width in latent pixels. Const and thread-safe. A part has only the memory for what it
  // runs: kEntry enter(), kRest leave().
  [[nodiscard]] Stream start(int64_t height, int64_t width,
                             NetworkPart part = NetworkPart::kWhole) const;
  [[nodiscard]] at::Device device() const noexcept { return device_; }
  [[nodiscard]] const VaeSpec& spec() const noexcept;

 private:
  VaeSpec spec_;
  at::Device device_;
  std::shared_ptr<const Network> network_;
};

}  // namespace t2v::models::vae
