#include "ops/cuda/cuda_int8.h"

#include <ATen/ops/empty.h>

#include "core/check.h"
#include "ops/launch.h"
#include "t2v/kernels/expand_int8_rows.h"
#include "t2v/kernels/gate_residual_norm_quantise.h"
#include "t2v/kernels/int8_linear.h"
#include "t2v/kernels/layer_norm_quantise.h"
#include "t2v/kernels/quantise_rows.h"

namespace t2v::ops::cuda {
namespace {

constexpr uintptr_t kAccess = 16;

// Whether 16-byte accesses serve every row of x [L, C].
bool rows_aligned(const at::Tensor& x) {
  const auto row_bytes = static_cast<uintptr_t>(row_stride(x) * x.element_size());
  return reinterpret_cast<uintptr_t>(x.const_data_ptr()) % kAccess == 0 &&
         row_bytes % kAccess == 0 && (x.size(1) <= 1 || x.stride(1) == 1) &&
         row_stride(x) >= x.size(1);
}

// x itself, or a copy that is aligned.
at::Tensor aligned_rows(const at::Tensor& x) {
  return rows_aligned(x) ? x : x.clone(at::MemoryFormat::Contiguous);
}

// fp32 [C] on x's device, 16-byte aligned.
at::Tensor aligned_vector(const at::Tensor& v, const at::Tensor& x) {
  T2V_ASSERT(v.device() == x.device() && v.is_contiguous());
  return reinterpret_cast<uintptr_t>(v.const_data_ptr()) % kAccess == 0 ? v : v.clone();
}

QuantisedRows empty_rows(const at::Tensor& x, at::ScalarType type) {
  return {.values = at::empty(x.sizes(), x.options().dtype(type)),
          .row_scale = at::empty({x.size(0)}, x.options().dtype(at::kFloat))};
}

kernels::Modulation modulation_of(NormKind kind) {
  return kind == NormKind::kModulate ? kernels::Modulation::kScaleShift
                                     : kernels::Modulation::kAffine;
}

// `op` is a literal, `type` kChar or kFloat8_e4m3fn.
QuantisedRows run_quantise_rows(const char* op, const at::Tensor& input, int64_t rotation,
                                at::ScalarType type) {
  const Launch launch(op, input);
  const at::Tensor x = aligned_rows(input);
  QuantisedRows result = empty_rows(x, type);
  kernels::QuantiseRowsArgs args;
  args.x = x.const_data_ptr();
  args.out = result.values.mutable_data_ptr();
  args.row_scale = result.row_scale.mutable_data_ptr<float>();
  args.rows = x.size(0);
  args.columns = x.size(1);
  args.x_row_stride = row_stride(x);
  args.out_row_stride = x.size(1);
  args.rotation_group = static_cast<int>(rotation);
  args.x_dtype = kernel_dtype(x.scalar_type());
  args.out_type = type == at::kChar ? kernels::ByteType::kInt8 : kernels::ByteType::kE4m3;
  launch.check(kernels::quantise_rows(args, launch.stream()));
  return result;
}

// Operands and scales; `out`, its stride, type and the epilogue are the caller's.
kernels::Int8LinearArgs linear_args(const Int8Product& product) {
  const at::Tensor& x = product.x.values;
  const Int8Weight& w = product.weight;
  T2V_ASSERT(x.is_contiguous() && w.values.is_contiguous() && w.values.device() == x.device());
  kernels::Int8LinearArgs args;
  args.x = x.const_data_ptr<int8_t>();
  args.weight = w.values.const_data_ptr<int8_t>();
  args.x_scale = product.x.row_scale.const_data_ptr<float>();
  args.weight_scale = w.row_scale.const_data_ptr<float>();
  args.bias = product.bias.defined() ? product.bias.const_data_ptr<float>() : nullptr;
  args.rows = x.size(0);
  args.columns = w.out_features;
  args.depth = w.in_features;
  args.x_row_stride = w.in_features;
  args.weight_row_stride = w.in_features;
  return args;
}

}  // namespace

QuantisedRows layer_norm_quantise(const at::Tensor& input, const RowNorm& norm, double eps,
                                  int64_t rotation) {
  const Launch launch("layer_norm_quantise", input);
  const at::Tensor x = aligned_rows(input);
  const at::Tensor scale = aligned_vector(norm.a, x);
  const at::Tensor shift = aligned_vector(norm.b, x);
  QuantisedRows result = empty_rows(x, at::kChar);
  kernels::LayerNormQuantiseArgs args;
  args.x = x.const_data_ptr();
  args.out = result.values.mutable_data_ptr<int8_t>();
  args.row_scale = result.row_scale.mutable_data_ptr<float>();
  args.scale = scale.const_data_ptr<float>();
  args.shift = shift.const_data_ptr<float>();
  args.rows = x.size(0);
  args.columns = x.size(1);
  args.x_row_stride = row_stride(x);
  args.out_row_stride = x.size(1);
  args.rotation_group = static_cast<int>(rotation);
  args.eps = static_cast<float>(eps);
  args.x_dtype = kernel_dtype(x.scalar_type());
  args.modulation = modulation_of(norm.kind);
  launch.check(kernels::layer_norm_quantise(args, launch.stream()));
  return result;
}

QuantisedRows gate_residual_norm_quantise_(at::Tensor& x, const at::Tensor& branch,
                                           const at::Tensor& gate, const RowNorm& norm, double eps,
                                           int64_t rotation) {
  T2V_ASSERT(branch.device() == x.device());
  if (!rows_aligned(x)) {
    at::Tensor copy = aligned_rows(x);
    QuantisedRows result = gate_residual_norm_quantise_(copy, branch, gate, norm, eps, rotation);
    x.copy_(copy);
    return result;
  }
  const Launch launch("gate_residual_norm_quantise", x);
  const at::Tensor added = aligned_rows(branch);
  const at::Tensor factor = gate.defined() ? aligned_vector(gate, x) : gate;
  const at::Tensor scale = aligned_vector(norm.a, x);
  const at::Tensor shift = aligned_vector(norm.b, x);
  QuantisedRows result = empty_rows(x, at::kChar);
  kernels::GateResidualNormQuantiseArgs args;
  args.x = x.mutable_data_ptr<float>();
  args.branch = added.const_data_ptr();
  args.gate = factor.defined() ? factor.const_data_ptr<float>() : nullptr;
  args.scale = scale.const_data_ptr<float>();
  args.shift = shift.const_data_ptr<float>();
  args.out = result.values.mutable_data_ptr<int8_t>();
  args.row_scale = result.row_scale.mutable_data_ptr<float>();
  args.rows = x.size(0);
  args.columns = x.size(1);
  args.x_row_stride = row_stride(x);
  args.branch_row_stride = row_stride(added);
  args.out_row_stride = x.size(1);
  args.rotation_group = static_cast<int>(rotation);
  args.eps = static_cast<float>(eps);
  args.branch_dtype = kernel_dtype(added.scalar_type());
  args.modulation = modulation_of(norm.kind);
  launch.check(kernels::gate_residual_norm_quantise(args, launch.stream()));
  return result;
}

QuantisedRows quantise_rows(const at::Tensor& x, int64_t rotation) {
  return run_quantise_rows("quantise_rows", x, rotation, at::kChar);
}

QuantisedRows quantise_rows_fp8(const at::Tensor& x, int64_t rotation) {
  require_fp8(x);
  return run_quantise_rows("quantise_rows_fp8", x, rotation, at::kFloat8_e4m3fn);
}

at::Tensor pack_int8(const at::Tensor& values) { return aligned_rows(values); }

at::Tensor int8_linear(const Int8Product& product) {
  const at::Tensor& x = product.x.values;
  const Launch launch("int8_linear", x);
  at::Tensor result =
      at::empty({x.size(0), product.weight.out_features}, x.options().dtype(product.out));
  kernels::Int8LinearArgs args = linear_args(product);
  args.out = result.mutable_data_ptr();
  args.out_row_stride = args.columns;
  args.out_dtype = kernel_dtype(product.out);
  args.epilogue = product.gelu ? kernels::Int8Epilogue::kGelu : kernels::Int8Epilogue::kStore;
  launch.check(kernels::int8_linear(args, launch.stream()));
  return result;
}

void int8_linear_residual_(at::Tensor& x, const Int8Product& product, const at::Tensor& gate) {
  T2V_ASSERT(x.device() == product.x.values.device() && !product.gelu);
  if (!rows_aligned(x)) {
    at::Tensor copy = aligned_rows(x);
    int8_linear_residual_(copy, product, gate);
    x.copy_(copy);
    return;
  }
  const Launch launch("int8_linear_residual", x);
  kernels::Int8LinearArgs args = linear_args(product);
  args.gate = gate.defined() ? gate.const_data_ptr<float>() : nullptr;
  args.out = x.mutable_data_ptr<float>();
  args.out_row_stride = row_stride(x);
  args.out_dtype = kernels::DType::kFloat32;
  args.epilogue = kernels::Int8Epilogue::kResidual;
  launch.check(kernels::int8_linear(args, launch.stream()));
}

at::Tensor expand_int8(const Int8Weight& weight, int64_t rotation, at::ScalarType out) {
  const Launch launch("expand_int8", weight.values);
  const at::Tensor x = aligned_rows(weight.values);
  at::Tensor result = at::empty(x.sizes(), x.options().dtype(out));
  kernels::ExpandInt8RowsArgs args;
  args.x = x.const_data_ptr<int8_t>();
  args.row_scale = weight.row_scale.const_data_ptr<float>();
  args.out = result.mutable_data_ptr();
  args.rows = x.size(0);
  args.columns = x.size(1);
  args.x_row_stride = row_stride(x);
  args.out_row_stride = x.size(1);
  args.rotation_group = static_cast<int>(rotation);
  args.out_dtype = kernel_dtype(out);
  launch.check(kernels::expand_int8_rows(args, launch.stream()));
  return result;
}

}  // namespace t2v::ops::cuda
