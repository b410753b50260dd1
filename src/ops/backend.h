// Which implementation of the fused ops runs: our own loops (CPU), our own kernels (CUDA plugin) or
// the composed twins. The choice is process-wide, can be named, and is never changed in silence.
#pragma once

#include <ATen/core/Tensor.h>

#include "ops/attention_inputs.h"
#include "ops/rope.h"

namespace t2v::ops {

struct QkvHeads {
  at::Tensor q, k, v;  // [N, L, D], contiguous
};

// Packed projections of the tokens first_token .. first_token + rows - 1 of one sequence.
struct QkNormRope {
  at::Tensor qkv;             // [rows, 3*N*D]
  at::Tensor norm_q, norm_k;  // fp32 [N*D]
  const RopeTables* rope = nullptr;
  int64_t first_token = 0;
  double eps = 0;
};

// What a LayerNorm does after normalising: * (1 + a) + b, or * a + b.
enum class NormKind { kModulate, kAffine };

struct RowNorm {
  NormKind kind = NormKind::kModulate;
  at::Tensor a, b;  // fp32 [C]: scale and shift, or weight and bias
};

// Rows for 8-bit matrix products: value = values * row_scale. A row with NaN or infinity has a
// scale that is not finite, on every device.
struct QuantisedRows {
  at::Tensor values;     // int8 or e4m3 [L, C], contiguous
  at::Tensor row_scale;  // fp32 [L]
};

// How a linear layer takes its rows.
enum class RowType { kPlain, kInt8, kFp8 };

struct RowFormat {
  RowType type = RowType::kPlain;
  at::ScalarType dtype = at::kFloat;  // of plain rows, and of what the layer gives
  // Quantised rows were multiplied by the regular Hadamard matrix within groups of so many columns
  // (a power of 4 that divides them); 0: not.
  int64_t rotation = 0;
};

// Rows in some format. row_scale undefined: plain ones.
struct Rows {
  at::Tensor values;  // [L, C]
  at::Tensor row_scale;
};

// W = values * row_scale, the columns rotated as the rows that it is multiplied with.
struct Int8Weight {
  at::Tensor values;     // int8 [N, K], or what pack_int8 made of it; fp8: e4m3 [N, K]
  at::Tensor row_scale;  // fp32 [N]
  int64_t out_features = 0;
  int64_t in_features = 0;
};

// x * W^T + bias: s_x[m] * s_w[n] * sum + b[n] in fp32, then GELU-tanh, rounded once to `out`.
struct Int8Product {
  const QuantisedRows& x;
  const Int8Weight& weight;
  const at::Tensor& bias;  // fp32 [N], or undefined
  bool gelu = false;
  at::ScalarType out = at::kFloat;
};

enum class NormActivation { kNone, kSilu };

// Tensors of one solver step, fp32, all of one shape. Undefined: its coefficient is 0; uncond
// undefined: no guidance.
struct SolverInputs {
  at::Tensor x, cond, uncond, last, x0_1, x0_2;
};

// v = uncond + guidance * (cond - uncond); x0 = x - sigma * v; corrected and next are linear in
// what the members' names say, predict_x being the factor of corrected.
struct SolverCoefficients {
  double sigma = 0;
  double guidance = 1;
  double correct_x = 1, correct_last = 0, correct_x0_1 = 0, correct_x0_2 = 0, correct_x0 = 0;
  double predict_x = 0, predict_x0 = 0, predict_x0_1 = 0;

  // corrected is x itself.
  [[nodiscard]] bool keeps_x() const noexcept {
    return correct_x == 1 && correct_last == 0 && correct_x0_1 == 0 && correct_x0_2 == 0 &&
           correct_x0 == 0;
  }
};

// corrected may be the tensor x itself.
struct SolverOutputs {
  at::Tensor next, corrected, x0;
};

// One implementation of the fused ops. Shapes and dtypes are checked before a call by the functions
// of the same names (ops/norm.h, vae_norm.h, add_bias_residual.h, frames.h, solver_step.h).
struct OpTable {
  const char* name;
  at::Tensor (*layer_norm_modulate)(const at::Tensor& x, const at::Tensor& scale,
                                    const at::Tensor& shift, double eps, at::ScalarType out);
  at::Tensor (*layer_norm)(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias,
                           double eps, at::ScalarType out);
  at::Tensor (*rms_norm)(const at::Tensor& x, const at::Tensor& weight, double eps);
  void (*qk_norm_rope)(const QkNormRope& in, const QkvHeads& out);
  void (*gate_residual_)(at::Tensor& x, const at::Tensor& branch, const at::Tensor& gate);
  at::Tensor (*gate_residual_norm_)(at::Tensor& x, const at::Tensor& branch, const at::Tensor& gate,
                                    const RowNorm& norm, double eps, at::ScalarType out);
  QuantisedRows (*layer_norm_quantise)(const at::Tensor& x, const RowNorm& norm, double eps,
                                       int64_t rotation_group);
  void (*vae_norm)(const at::Tensor& x, const at::Tensor& bias, const at::Tensor& gamma,
                   NormActivation activation, const at::Tensor& out);
  void (*add_bias_residual)(const at::Tensor& y, const at::Tensor& bias, const at::Tensor& residual,
                            const at::Tensor& out);
  void (*frames_to_rgb8)(const at::Tensor& frames, const at::Tensor& rgb8,
                         const at::Tensor& non_finite);
  SolverOutputs (*solver_step)(const SolverInputs& in, const SolverCoefficients& coefficients);
  // Rows of 8 bits (ops/int8.h). Rotations are those of RowFormat. x fp32, bf16 or fp16 [L, C],
  // rows may be strided; row_scale = max(max|z|, 1e-5) / 127 (fp8: / 448), z the rotated row.
  QuantisedRows (*quantise_rows)(const at::Tensor& x, int64_t rotation) = nullptr;
  QuantisedRows (*gate_residual_norm_quantise_)(at::Tensor& x, const at::Tensor& branch,
                                                const at::Tensor& gate, const RowNorm& norm,
                                                double eps, int64_t rotation) = nullptr;
  at::Tensor (*pack_int8)(const at::Tensor& values) = nullptr;  // int8 [N, K], may be itself
  at::Tensor (*int8_linear)(const Int8Product& product) = nullptr;
  // x += gate * product, x fp32 [L, N]; gate fp32 [N], or undefined for 1.
  void (*int8_linear_residual_)(at::Tensor& x, const Int8Product& product,
                                const at::Tensor& gate) = nullptr;
  // W in `out`, the rotation taken back. values as stored, not packed.
  at::Tensor (*expand_int8)(const Int8Weight& weight, int64_t rotation,
                            at::ScalarType out) = nullptr;
  // The same with e4m3 values. Null: the device has no such product.
  QuantisedRows (*quantise_rows_fp8)(const at::Tensor& x, int64_t rotation) = nullptr;
  at::Tensor (*fp8_linear)(const Int8Product& product) = nullptr;
  // [L, N*D]; null where ops/attention.h has no kernel of ours to call through this table.
  at::Tensor (*attention)(const AttentionInputs& in) = nullptr;
  // q and k in int8, no key_bias and no lists; gives its inputs up when it has quantised them.
  at::Tensor (*attention_int8)(AttentionInputs in) = nullptr;
  // The keys of `in` (k and v may be empty) and those of the window under one softmax.
  at::Tensor (*cached_attention)(const AttentionInputs& in, const Int8KeyValues& window) = nullptr;
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

}  // namespace t2v::ops
