// On a device, work of the calling thread goes to a stream of its own, beside that of the
// denoising.
#pragma once

#include <c10/core/Device.h>
#include <c10/core/StreamGuard.h>
#include <c10/core/impl/VirtualGuardImpl.h>

#include <optional>

namespace t2v::pipeline {

class OwnStream {
 public:
  explicit OwnStream(c10::Device device) {
    if (device.is_cpu()) return;
    const c10::impl::VirtualGuardImpl impl(device.type());
    guard_.emplace(impl.getStreamFromGlobalPool(device));
  }

 private:
  std::optional<c10::StreamGuard> guard_;
};

}  // namespace t2v::pipeline
