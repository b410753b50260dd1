#include "pipeline/compute.h"

#include <ATen/Context.h>
#include <ATen/Parallel.h>

#include "core/check.h"
#include "core/escape.h"
#include "core/log.h"
#include "ops/backend.h"
#include "ops/device.h"
#include "pipeline/quant_choice.h"

namespace t2v::pipeline {
namespace {

bool cpu_multiplies_bf16() {
#if defined(__x86_64__)
  return __builtin_cpu_supports("avx512bf16") != 0;
#else
  return false;
#endif
}

at::Device choose_device(const EngineOptions& options) {
  if (options.device == Device::kCpu) return at::kCPU;
  const int gpus = ops::count_cuda_devices();
  if (options.device == Device::kAuto && gpus == 0) return at::kCPU;
  T2V_REQUIRE(gpus > 0, ErrorKind::kDevice,
              "no CUDA device on this machine, or no driver (--device cuda); try --device cpu");
  T2V_REQUIRE(options.device_index < gpus, ErrorKind::kDevice, "no CUDA device ",
              options.device_index, ", this machine has ", gpus, " (--device); try cuda:0");
  try {
    ops::load_cuda_backend();
  } catch (const Error& error) {
    if (options.device == Device::kCuda) throw;
    core::log(core::LogLevel::kWarn,
              core::str("GPU found, but running on the CPU: ", error.what()));
    return at::kCPU;
  }
  return {at::kCUDA, static_cast<at::DeviceIndex>(options.device_index)};
}

at::ScalarType choose_dtype(Dtype dtype, const at::Device& device) {
  switch (dtype) {
    case Dtype::kFp32:
      return at::kFloat;
    case Dtype::kBf16:
      return at::kBFloat16;
    case Dtype::kFp16:
      T2V_REQUIRE(!device.is_cpu(), ErrorKind::kUsage,
                  "fp16 is slow and inexact on the CPU (--dtype fp16); try bf16 or fp32");
      return at::kHalf;
    case Dtype::kAuto:
      break;
  }
  return !device.is_cpu() || cpu_multiplies_bf16() ? at::kBFloat16 : at::kFloat;
}

// fp32 means fp32, sums are fp32, and the same input gives the same bits.
void set_cuda_rules() {
  at::Context& context = at::globalContext();
  context.setAllowTF32CuBLAS(false);
  context.setAllowTF32CuDNN(false);
  context.setAllowBF16ReductionCuBLAS(false);
  context.setAllowFP16ReductionCuBLAS(false);
  context.setBenchmarkCuDNN(false);
  context.setDeterministicCuDNN(true);
}

at::Device choose_text_device(TextEncoderDevice wanted, at::Device device) {
  T2V_REQUIRE(wanted != TextEncoderDevice::kCuda || !device.is_cpu(), ErrorKind::kDevice,
              "the text encoder cannot run on CUDA: this run is on the CPU "
              "(--text-encoder-device cuda); try --device cuda");
  return wanted == TextEncoderDevice::kCpu ? at::Device(at::kCPU) : device;
}

}  // namespace

const char* dtype_word(at::ScalarType dtype) {
  return dtype == at::kFloat ? "fp32" : dtype == at::kBFloat16 ? "bf16" : "fp16";
}

Compute choose_compute(const EngineOptions& options) {
  if (options.num_threads > 0) at::set_num_threads(options.num_threads);
  ops::set_backend(options.backend == Backend::kReference ? ops::OpBackend::kReference
                                                          : ops::OpBackend::kFused);
  const at::Device device = choose_device(options);
  if (!device.is_cpu()) set_cuda_rules();
  const auto attention = ops::attention_backend(options.attention);
  T2V_REQUIRE(attention.has_value(), ErrorKind::kUsage, "no attention back end '",
              core::escape_control(options.attention, 60),
              "' (--attention); try auto, cudnn, flash, own, own-int8 or reference");
  return {device,
          choose_dtype(options.dtype, device),
          choose_text_device(options.text_encoder_device, device),
          *attention,
          {},
          options.quant_preset == QuantPreset::kQuality,
          options.profile};
}

std::string describe(const Compute& compute) {
  const char* dtype = dtype_word(compute.dtype);
  if (compute.device.is_cpu())
    return core::str("CPU, ", at::get_num_threads(),
                     at::get_num_threads() == 1 ? " thread, " : " threads, ", dtype,
                     describe(compute.quant));
  return core::str("CUDA device ", static_cast<int>(compute.device.index()), ", ", dtype,
                   describe(compute.quant));
}

int64_t available_device_bytes(at::Device device) { return ops::available_device_bytes(device); }

}  // namespace t2v::pipeline
