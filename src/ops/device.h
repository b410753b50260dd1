// The device beside the processor: what it is, and its memory. Served by the CUDA back end
// (ops/backend.h loads it); every call throws Error{kDevice} when that is not there.
#pragma once

#include <c10/core/Device.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

namespace t2v::ops {

struct DeviceFacts {
  std::string name;         // "NVIDIA H200"
  int capability = 0;       // compute capability times 10: 80, 89, 90, 120
  int multiprocessors = 0;  // SMs
  int64_t total_bytes = 0;  // of memory
};

// One per platform; `index` counts its devices. Found by name in the plugin.
struct DeviceTable {
  DeviceFacts (*facts)(int index);
  int64_t (*available_bytes)(int index);  // -1: the driver does not tell
  void (*limit_memory)(int index, int64_t bytes);
  void (*release_cache)(int index);
  void (*reset_peak)(int index);
  int64_t (*peak_bytes)(int index);
  int64_t (*current_bytes)(int index);
  void* (*allocate_pinned)(size_t bytes);  // null: refused
  void (*free_pinned)(void* memory);
};

const DeviceFacts& device_facts(c10::Device device);

// Memory for tensors: what is free and what this process' allocator has already. Throws
// Error{kDevice} also when the driver does not tell.
int64_t available_device_bytes(c10::Device device);

// What LibTorch's allocator may take of the device from now on; beyond it c10::OutOfMemoryError.
void limit_device_memory(c10::Device device, int64_t bytes);

// Gives cached but unused memory back to the device.
void release_device_cache(c10::Device device);

// The highest sum of tensors' memory since reset_device_peak (allocator statistics).
void reset_device_peak(c10::Device device);
int64_t device_peak_bytes(c10::Device device);
// What tensors take now.
int64_t device_bytes(c10::Device device);

// Page-locked host memory, exactly as large as asked for (LibTorch's own cache of such memory
// rounds up to a power of two, which doubles what blocks of weights take). Throws std::bad_alloc.
std::shared_ptr<std::byte> allocate_pinned(size_t bytes);

}  // namespace t2v::ops
