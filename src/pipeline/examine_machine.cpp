// What t2v finds on this machine: processor, LibTorch, GPUs, the kernels that would run.
#include <ATen/Parallel.h>
#include <ATen/Version.h>
#include <c10/core/InferenceMode.h>
#include <dlfcn.h>
#include <torch/headeronly/version.h>

#include "core/check.h"
#include "ops/attention_bf16.h"
#include "ops/attention_choice.h"
#include "ops/backend.h"
#include "ops/conv3d.h"
#include "ops/device.h"
#include "pipeline/compute.h"
#include "pipeline/run_profile.h"
#include "t2v/machine.h"

namespace t2v::pipeline {
namespace {

// What the published models have.
constexpr int64_t kHeadSize = 128;
constexpr int64_t kTokens = 32760;  // 832x480, 81 frames
constexpr int64_t kVaeChannels = 96;

void look_at_cpu(MachineFacts& facts) {
  facts.libtorch =
      core::str(TORCH_VERSION_MAJOR, '.', TORCH_VERSION_MINOR, '.', TORCH_VERSION_PATCH);
  facts.cpu_capability = at::get_cpu_capability();
#if defined(__x86_64__)
  facts.has_avx512 = __builtin_cpu_supports("avx512f") != 0;
  facts.has_bf16_products = __builtin_cpu_supports("avx512bf16") != 0;
#if defined(__GNUC__) && !defined(__clang__)
  facts.has_amx = __builtin_cpu_supports("amx-bf16") != 0;
#endif
#endif
}

// "12.4"; "" without a driver.
std::string driver_version() {
  void* driver = ::dlopen("libcuda.so.1", RTLD_NOW | RTLD_LOCAL);
  if (!driver) return "";
  const auto version = reinterpret_cast<int (*)(int*)>(::dlsym(driver, "cuDriverGetVersion"));
  int number = 0;
  if (!version || version(&number) != 0) return "";
  return core::str(number / 1000, '.', number % 1000 / 10);
}

void look_at_gpus(MachineFacts& facts) {
  facts.cuda_driver = driver_version();
  const int count = ops::count_cuda_devices();
  if (count == 0) {
    if (!facts.cuda_driver.empty()) facts.gpu_problem = "the driver is there and shows no GPU";
    return;
  }
  try {
    ops::load_cuda_backend();
    for (int i = 0; i < count; ++i) {
      const c10::Device device(c10::DeviceType::CUDA, static_cast<c10::DeviceIndex>(i));
      const ops::DeviceFacts& found = ops::device_facts(device);
      MachineGpu gpu{.name = found.name,
                     .capability = found.capability,
                     .multiprocessors = found.multiprocessors,
                     .total_bytes = found.total_bytes,
                     .free_bytes = -1,
                     .is_mig_slice = found.name.find(" MIG ") != std::string::npos};
      try {
        gpu.free_bytes = ops::available_device_bytes(device);
      } catch (const Error&) {  // it does not tell: that is the finding
      }
      facts.gpus.push_back(std::move(gpu));
    }
  } catch (const Error& error) {
    facts.gpu_problem = error.what();
  }
}

const char* attention_kernel(const Compute& compute) {
  if (compute.device.is_cpu())
    return compute.dtype == at::kBFloat16 && ops::avx512bf16::is_preferred() ? "own (AVX512-BF16)"
                                                                             : "flash (LibTorch)";
  const ops::AttentionShape shape{ops::device_facts(compute.device).capability, compute.dtype,
                                  kHeadSize, kTokens};
  switch (ops::choose_attention(shape).kernel) {
    case ops::CudaAttention::kCudnn:
      return "cuDNN";
    case ops::CudaAttention::kFlash:
      return "flash (LibTorch)";
    case ops::CudaAttention::kOwn:
      return "own";
    case ops::CudaAttention::kOwnInt8:
      return "own, int8";
    case ops::CudaAttention::kEfficient:
      return "memory-efficient (LibTorch)";
    case ops::CudaAttention::kReference:
      break;
  }
  return "composed";
}

void name_kernels(const Compute& compute, MachineFacts& facts) {
  const bool cpu = compute.device.is_cpu();
  const auto conv =
      ops::choose_conv_backend(cpu ? compute.dtype : at::kFloat, kVaeChannels, compute.device);
  facts.kernels = {
      {"self-attention", attention_kernel(compute)},
      {"matrix products", cpu ? "oneDNN, packed weights" : "cuBLASLt"},
      {"norms, rope, residuals", ops::op_table(compute.device.type()).name},
      {"VAE convolutions", !cpu                                ? "cuDNN"
                           : conv == ops::ConvBackend::kDirect ? "own (AVX-512)"
                                                               : "oneDNN"},
  };
}

}  // namespace
}  // namespace t2v::pipeline

namespace t2v {

MachineFacts examine_machine(const EngineOptions& options) {
  const c10::InferenceMode no_gradients;
  MachineFacts facts;
  pipeline::look_at_cpu(facts);
  pipeline::look_at_gpus(facts);
  const pipeline::Compute compute = pipeline::choose_compute(options);
  facts.num_threads = at::get_num_threads();
  facts.device = pipeline::describe(compute);
  facts.host_bytes = pipeline::available_host_bytes();
  pipeline::name_kernels(compute, facts);
  facts.peak_flop_per_s = pipeline::peak_flop_per_s(compute.device, compute.dtype);
  return facts;
}

}  // namespace t2v
