#include "pipeline/device_errors.h"

#include <catch2/catch.hpp>
#include <string>

using namespace t2v;
using pipeline::DeviceRoom;
using pipeline::from_torch_error;

namespace {

constexpr const char* kAllocatorText =
    "CUDA out of memory. Tried to allocate 2.25 GiB. GPU 0 has a total capacity of 23.6 GiB of "
    "which 1.10 GiB is free.\nProcess 4711 has 22 GiB memory in use.";

const DeviceRoom kRoom{.free_bytes = 1181116006, .allowed_bytes = int64_t{12} << 30};

bool has(const Error& error, const char* part) {
  return std::string(error.what()).find(part) != std::string::npos;
}

c10::SourceLocation here() { return {"f", "file", 1}; }

}  // namespace

TEST_CASE("an allocator that is at its limit tells what was needed, what is free and what to try") {
  const Error error = from_torch_error(c10::OutOfMemoryError(here(), kAllocatorText), kRoom);
  CHECK(error.kind() == ErrorKind::kOutOfMemory);
  CHECK(has(error, "2.25 GiB more were needed"));
  CHECK(has(error, "1.18 GB free"));
  CHECK(has(error, "12.88 GB"));
  CHECK(has(error, "--vram-budget"));
  CHECK(has(error, "--offload block"));
  CHECK(!has(error, "\n"));
}

TEST_CASE("host memory, libraries without memory, failed calls and our bugs are told apart") {
  const Error host = from_torch_error(
      c10::Error(here(), "DefaultCPUAllocator: not enough memory: you tried to allocate 9 bytes."),
      std::nullopt);
  CHECK(host.kind() == ErrorKind::kOutOfMemory);
  CHECK(has(host, "host memory: 9 bytes more"));
  const Error limited = from_torch_error(
      c10::Error(here(),
                 "[enforce fail at alloc_cpu.cpp:127] err == 0. DefaultCPUAllocator: can't "
                 "allocate memory: you tried to allocate 8388608 bytes. Error code 12"),
      kRoom);
  CHECK(limited.kind() == ErrorKind::kOutOfMemory);
  CHECK(has(limited, "host memory: 8388608 bytes more"));
  const Error cublas = from_torch_error(
      c10::Error(here(), "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling cublasCreate"),
      kRoom);
  CHECK(cublas.kind() == ErrorKind::kOutOfMemory);
  CHECK(has(cublas, "more were needed"));
  const Error failed = from_torch_error(
      c10::AcceleratorError(here(), 700, "CUDA error: an illegal memory access was encountered"),
      kRoom);
  CHECK(failed.kind() == ErrorKind::kDevice);
  CHECK(has(failed, "illegal memory access"));
  const Error bug = from_torch_error(c10::Error(here(), "Expected 3 dimensions"), kRoom);
  CHECK(bug.kind() == ErrorKind::kInternal);
  CHECK(has(bug, "Expected 3 dimensions"));
}
