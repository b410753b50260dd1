// Decoded frames on their way to host memory as bytes: on a device the chunk before travels, and is
// used, while the next one is decoded.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <memory>
#include <vector>

namespace t2v::pipeline {

class FrameReturn {
 public:
  // frame_pixels: of one frame; max_frames: of one chunk.
  FrameReturn(at::Device device, int64_t frame_pixels, int64_t max_frames);
  FrameReturn(const FrameReturn&) = delete;
  FrameReturn& operator=(const FrameReturn&) = delete;
  ~FrameReturn();

  struct Chunk {
    at::Tensor rgb8;  // uint8 [m, H, W, 3] in host memory; on a device good until the next send()
    int64_t latent_frame = 0;
  };

  // frames [3, m, H, W] fp32. Queues everything and returns; at most capacity() chunks may be on
  // their way.
  void send(const at::Tensor& frames, int64_t latent_frame);
  // The oldest one; waits for it. Throws Error{kNumeric} when it held NaN or infinite values.
  Chunk receive();

  [[nodiscard]] int64_t in_flight() const;
  // 1 on the CPU, where there is nothing to overlap; else 2.
  [[nodiscard]] int64_t capacity() const;

 private:
  struct Lane;
  struct Sent;
  std::unique_ptr<Lane> lane_;  // null on the CPU
  std::vector<Sent> sent_;      // oldest first
};

// Throws Error{kNumeric} naming the latent frame.
void require_finite(bool finite, int64_t latent_frame);

}  // namespace t2v::pipeline
