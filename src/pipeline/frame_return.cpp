#include "pipeline/frame_return.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/from_blob.h>
#include <ATen/ops/zeros.h>
#include <c10/core/Event.h>
#include <c10/core/impl/VirtualGuardImpl.h>

#include <array>
#include <optional>

#include "core/check.h"
#include "ops/device.h"
#include "ops/frames.h"

namespace t2v::pipeline {
namespace {

constexpr size_t kSlots = 2;
constexpr size_t kCountBytes = 64;  // in front of the pixels: the counter, alone on its line

}  // namespace

// Two pieces of pinned memory that chunks take in turns.
struct FrameReturn::Lane {
  Lane(at::Device its_device, int64_t max_bytes) : device(its_device), guard(its_device.type()) {
    for (auto& slot : slots)
      slot = ops::allocate_pinned(kCountBytes + static_cast<size_t>(max_bytes));
  }

  at::Device device;
  c10::impl::VirtualGuardImpl guard;
  std::array<std::shared_ptr<std::byte>, kSlots> slots;
  size_t next = 0;
};

struct FrameReturn::Sent {
  at::Tensor rgb8;
  at::Tensor non_finite;           // int32 [1], host memory
  std::optional<c10::Event> done;  // absent on the CPU
  int64_t latent_frame = 0;
};

FrameReturn::FrameReturn(at::Device device, int64_t frame_pixels, int64_t max_frames) {
  if (!device.is_cpu()) lane_ = std::make_unique<Lane>(device, frame_pixels * 3 * max_frames);
}

FrameReturn::~FrameReturn() {
  // Memory that a copy still writes to must not go.
  for (const Sent& sent : sent_) {
    try {
      if (sent.done) sent.done->synchronize();
    } catch (...) {  // the device has failed: it writes no more
    }
  }
}

int64_t FrameReturn::in_flight() const { return static_cast<int64_t>(sent_.size()); }

int64_t FrameReturn::capacity() const { return lane_ ? static_cast<int64_t>(kSlots) : 1; }

void FrameReturn::send(const at::Tensor& frames, int64_t latent_frame) {
  T2V_ASSERT(in_flight() < capacity());
  const std::array<int64_t, 4> shape = {frames.size(1), frames.size(2), frames.size(3), 3};
  const at::Tensor rgb8 = at::empty(shape, frames.options().dtype(at::kByte));
  const at::Tensor non_finite = at::zeros({1}, frames.options().dtype(at::kInt));
  ops::frames_to_rgb8(frames, rgb8, non_finite);
  Sent sent{.rgb8 = rgb8, .non_finite = non_finite, .done = {}, .latent_frame = latent_frame};
  if (lane_) {
    std::byte* memory = lane_->slots[lane_->next].get();
    lane_->next = (lane_->next + 1) % kSlots;
    sent.non_finite = at::from_blob(memory, {1}, at::kInt);
    sent.rgb8 = at::from_blob(memory + kCountBytes, shape, at::kByte);
    sent.non_finite.copy_(non_finite, /*non_blocking=*/true);
    sent.rgb8.copy_(rgb8, /*non_blocking=*/true);
    sent.done.emplace(lane_->device.type());
    sent.done->record(lane_->guard.getStream(lane_->device));
  }
  sent_.push_back(std::move(sent));
}

FrameReturn::Chunk FrameReturn::receive() {
  T2V_ASSERT(!sent_.empty());
  const Sent sent = std::move(sent_.front());
  sent_.erase(sent_.begin());
  if (sent.done) sent.done->synchronize();
  require_finite(*sent.non_finite.const_data_ptr<int32_t>() == 0, sent.latent_frame);
  return {.rgb8 = sent.rgb8, .latent_frame = sent.latent_frame};
}

void require_finite(bool finite, int64_t latent_frame) {
  T2V_REQUIRE(finite, ErrorKind::kNumeric,
              "decoded frames hold NaN or infinite values (latent frame ", latent_frame,
              "); try --dtype fp32");
}

}  // namespace t2v::pipeline
