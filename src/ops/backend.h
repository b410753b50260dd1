// Which implementation of the fused ops runs: our own loops (CPU), our own kernels (CUDA plugin) or
// the composed twins. The choice is process-wide, can be named, and is never changed in silence.
#pragma once

#include <ATen/core/Tensor.h>

#include "ops/rope.h"

namespace t2v::ops {

struct QkvHeads {
  at::Tensor q, k, v;  // [N, L, D], contiguous
};

// One implementation of the fused ops. Shapes and dtypes are checked before a call (ops/norm.h).
struct OpTable {
  const char* name;
  at::Tensor (*layer_norm_modulate)(const at::Tensor& x, const at::Tensor& scale,
                                    const at::Tensor& shift, double eps, at::ScalarType out);
  at::Tensor (*layer_norm)(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias,
                           double eps, at::ScalarType out);
  at::Tensor (*rms_norm)(const at::Tensor& x, const at::Tensor& weight, double eps);
  QkvHeads (*qk_norm_rope)(const at::Tensor& qkv, const at::Tensor& norm_q,
                           const at::Tensor& norm_k, const RopeTables& rope, int64_t num_heads,
                           double eps);
  void (*gate_residual_)(at::Tensor& x, const at::Tensor& branch, const at::Tensor& gate);
};

enum class OpBackend { kFused, kReference };

// Takes effect for all later calls.
void set_backend(OpBackend backend) noexcept;

// The table that serves tensors on this device type. Throws Error{kDevice} for CUDA when the
// plugin is not loaded.
const OpTable& op_table(at::DeviceType device);

const OpTable& reference_ops();  // composed ATen ops, any device: the specification
const OpTable& cpu_ops();        // own fused loops

// The number of CUDA devices that the driver reports (the driver itself is asked, not LibTorch).
int count_cuda_devices() noexcept;

// Loads the CUDA back end (libt2v_cuda.so). Must run before anything asks ATen about CUDA.
// Throws Error{kDevice} with the reason.
void load_cuda_backend();

// Free memory of a device. Throws Error{kDevice}.
int64_t available_cuda_bytes(int device_index);

}  // namespace t2v::ops
