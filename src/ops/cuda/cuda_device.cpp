// Devices and their memory, as CUDA and LibTorch's allocator tell them.
#include <ATen/Context.h>
#include <c10/cuda/CUDACachingAllocator.h>
#include <c10/cuda/CUDAGuard.h>
#include <cuda_runtime_api.h>

#include <algorithm>

#include "core/check.h"
#include "ops/device.h"

namespace t2v::ops {
namespace {

namespace allocator = c10::cuda::CUDACachingAllocator;

void check(const char* call, int index, cudaError_t status) {
  if (status == cudaSuccess) return;
  cudaGetLastError();  // it is told here
  throw Error(ErrorKind::kDevice, core::str("CUDA device ", index, ": ", call, " failed: ",
                                            cudaGetErrorString(status), "; try --device cpu"));
}

c10::DeviceIndex narrow(int index) { return static_cast<c10::DeviceIndex>(index); }

// LibTorch's allocator knows a device once it has been used.
void start(int index) {
  at::globalContext().lazyInitDevice(c10::DeviceType::CUDA);
  const c10::cuda::CUDAGuard guard(narrow(index));
  check("cudaFree", index, cudaFree(nullptr));  // makes the context
}

DeviceFacts facts(int index) {
  cudaDeviceProp properties{};
  check("cudaGetDeviceProperties", index, cudaGetDeviceProperties(&properties, index));
  return {.name = properties.name,
          .capability = properties.major * 10 + properties.minor,
          .multiprocessors = properties.multiProcessorCount,
          .total_bytes = static_cast<int64_t>(properties.totalGlobalMem)};
}

constexpr auto kAll = static_cast<size_t>(c10::CachingAllocator::StatType::AGGREGATE);

int64_t available_bytes(int index) {
  start(index);
  size_t free = 0;
  size_t total = 0;
  const c10::cuda::CUDAGuard guard(narrow(index));
  if (cudaMemGetInfo(&free, &total) != cudaSuccess) {
    cudaGetLastError();
    return -1;
  }
  return static_cast<int64_t>(free) +
         allocator::getDeviceStats(narrow(index)).reserved_bytes[kAll].current;
}

void limit_memory(int index, int64_t bytes) {
  start(index);
  const double total = static_cast<double>(facts(index).total_bytes);
  allocator::setMemoryFraction(std::clamp(static_cast<double>(bytes) / total, 0.0, 1.0),
                               narrow(index));
}

void release_cache(int index) {
  start(index);
  allocator::emptyCache();
}

void reset_peak(int index) {
  start(index);
  allocator::resetPeakStats(narrow(index));
}

int64_t peak_bytes(int index) {
  start(index);
  return allocator::getDeviceStats(narrow(index)).allocated_bytes[kAll].peak;
}

int64_t current_bytes(int index) {
  start(index);
  return allocator::getDeviceStats(narrow(index)).allocated_bytes[kAll].current;
}

void* allocate_pinned(size_t bytes) {
  void* memory = nullptr;
  if (cudaHostAlloc(&memory, bytes, cudaHostAllocPortable) == cudaSuccess) return memory;
  cudaGetLastError();
  return nullptr;
}

void free_pinned(void* memory) { cudaFreeHost(memory); }

constexpr DeviceTable kTable{
    .facts = facts,
    .available_bytes = available_bytes,
    .limit_memory = limit_memory,
    .release_cache = release_cache,
    .reset_peak = reset_peak,
    .peak_bytes = peak_bytes,
    .current_bytes = current_bytes,
    .allocate_pinned = allocate_pinned,
    .free_pinned = free_pinned,
};

}  // namespace
}  // namespace t2v::ops

// Found by ops/device.cpp.
extern "C" __attribute__((visibility("default"))) const t2v::ops::DeviceTable* t2v_cuda_device() {
  return &t2v::ops::kTable;
}
