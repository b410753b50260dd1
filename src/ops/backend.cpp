#include "ops/backend.h"

#include <dlfcn.h>

#include <atomic>
#include <cstdlib>

#include "core/check.h"
#include "core/module.h"

namespace t2v::ops {
namespace {

std::atomic<OpBackend> chosen{OpBackend::kFused};
std::atomic<const OpTable*> cuda_table{nullptr};

}  // namespace

void set_backend(OpBackend backend) noexcept { chosen = backend; }

const OpTable& op_table(at::DeviceType device) {
  if (chosen == OpBackend::kReference) return reference_ops();
  if (device == at::DeviceType::CPU) return cpu_ops();
  const OpTable* table = cuda_table;
  T2V_REQUIRE(table != nullptr, ErrorKind::kDevice, "the CUDA back end is not loaded");
  return *table;
}

int count_cuda_devices() noexcept {
  // The driver stays loaded: the CUDA back end needs it right after.
  void* driver = ::dlopen("libcuda.so.1", RTLD_NOW | RTLD_LOCAL);
  if (!driver) return 0;
  const auto init = reinterpret_cast<int (*)(unsigned)>(::dlsym(driver, "cuInit"));
  const auto count = reinterpret_cast<int (*)(int*)>(::dlsym(driver, "cuDeviceGetCount"));
  int devices = 0;
  if (!init || !count || init(0) != 0 || count(&devices) != 0) return 0;
  return devices;
}

void load_cuda_backend() {
  if (cuda_table) return;
  // Segments that grow leave no gaps, so that what the plan allows can be used; read by LibTorch's
  // allocator when it starts. The user's own setting stands.
  ::setenv("PYTORCH_CUDA_ALLOC_CONF", "expandable_segments:True", 0);
  try {
    using Entry = const OpTable* (*)();
    cuda_table = reinterpret_cast<Entry>(core::load_module("t2v_cuda", "t2v_cuda_ops"))();
  } catch (const Error& error) {
    throw Error(ErrorKind::kDevice, core::str("CUDA back end: ", error.what()));
  }
}

}  // namespace t2v::ops
