// The decoder's network, of which there are two forms of equal results: whole chunks of frames
// (chunk_network, for the CPU) and frame by frame (frame_network, for CUDA).
#pragma once

#include <ATen/core/Tensor.h>

#include <memory>

#include "models/placement.h"
#include "models/vae/network_part.h"
#include "models/vae/spec.h"

namespace t2v::models::vae {

// What one video in progress remembers.
class NetworkState {
 public:
  NetworkState() = default;
  NetworkState(const NetworkState&) = delete;
  NetworkState& operator=(const NetworkState&) = delete;
  virtual ~NetworkState() = default;

  // latents [h, w, z] fp32 on the network's device, the next latent frame -> features [1, h, w, C],
  // good until the next call.
  virtual at::Tensor enter(const at::Tensor& latents) = 0;
  // features [1, h, w, C], contiguous, will be overwritten -> [m, H, W, 3] fp32 in [-1, 1].
  virtual at::Tensor leave(const at::Tensor& features) = 0;
  // Of caches and work buffers.
  [[nodiscard]] virtual int64_t bytes() const = 0;
};

class Network {
 public:
  Network() = default;
  Network(const Network&) = delete;
  Network& operator=(const Network&) = delete;
  virtual ~Network() = default;

  // height, width in latent pixels. The state refers to the network.
  [[nodiscard]] virtual std::unique_ptr<NetworkState> start(int64_t height, int64_t width,
                                                            NetworkPart part) const = 0;
};

std::unique_ptr<Network> make_chunk_network(const VaeSpec& spec, const Placement& from);
std::unique_ptr<Network> make_frame_network(const VaeSpec& spec, const Placement& from);

}  // namespace t2v::models::vae
