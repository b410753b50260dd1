#include "ops/device.h"

#include <map>
#include <mutex>
#include <new>

#include "core/check.h"
#include "core/module.h"

namespace t2v::ops {
namespace {

const DeviceTable& table() {
  using Entry = const DeviceTable* (*)();
  static const DeviceTable* const found = [] {
    try {
      return reinterpret_cast<Entry>(core::load_module("t2v_cuda", "t2v_cuda_device"))();
    } catch (const Error& error) {
      throw Error(ErrorKind::kDevice, core::str("CUDA back end: ", error.what()));
    }
  }();
  return *found;
}

const DeviceTable& table_of(c10::Device device) {
  T2V_ASSERT(device.is_cuda());
  return table();
}

}  // namespace

// Asked once: the driver takes its time to answer.
const DeviceFacts& device_facts(c10::Device device) {
  static std::mutex mutex;
  static std::map<int, DeviceFacts> known;
  const std::lock_guard lock(mutex);
  const int index = device.index();
  const auto found = known.find(index);
  if (found != known.end()) return found->second;
  return known.emplace(index, table_of(device).facts(index)).first->second;
}

int64_t available_device_bytes(c10::Device device) {
  const int64_t bytes = table_of(device).available_bytes(device.index());
  T2V_REQUIRE(bytes >= 0, ErrorKind::kDevice, "CUDA device ", static_cast<int>(device.index()),
              " does not tell its free memory; is it in use by another program?");
  return bytes;
}

void limit_device_memory(c10::Device device, int64_t bytes) {
  table_of(device).limit_memory(device.index(), bytes);
}

void release_device_cache(c10::Device device) { table_of(device).release_cache(device.index()); }

void reset_device_peak(c10::Device device) { table_of(device).reset_peak(device.index()); }

int64_t device_peak_bytes(c10::Device device) {
  return table_of(device).peak_bytes(device.index());
}

int64_t device_bytes(c10::Device device) { return table_of(device).current_bytes(device.index()); }

std::shared_ptr<std::byte> allocate_pinned(size_t bytes) {
  const DeviceTable& device = table();
  void* const memory = device.allocate_pinned(bytes);
  if (memory == nullptr) throw std::bad_alloc();
  return {static_cast<std::byte*>(memory), [free = device.free_pinned](std::byte* p) { free(p); }};
}

}  // namespace t2v::ops
