// Errors of LibTorch and its devices -> t2v::Error with what to do.
#pragma once

#include <c10/util/Exception.h>

#include <cstdint>
#include <optional>

#include "t2v/error.h"

namespace t2v::pipeline {

// What the device had when it failed.
struct DeviceRoom {
  int64_t free_bytes = 0;
  int64_t allowed_bytes = 0;  // of the run: --vram-budget, or what was free when it began
};

// room: absent on the CPU, and where the device does not answer any more. kOutOfMemory (with what
// was needed and free), kDevice for failed CUDA calls, else kInternal.
Error from_torch_error(const c10::Error& error, const std::optional<DeviceRoom>& room);

}  // namespace t2v::pipeline
