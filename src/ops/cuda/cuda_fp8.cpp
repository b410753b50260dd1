// Products of e4m3 rows: ATen's own, by row scales where it gives bf16.
#include <ATen/ops/_scaled_mm.h>
#include <ATen/ops/gelu.h>
#include <ATen/ops/mm.h>
#include <ATen/ops/ones.h>
#include <cuda_runtime_api.h>

#include "core/check.h"
#include "ops/cuda/cuda_int8.h"
#include "ops/launch.h"

namespace t2v::ops::cuda {
namespace {

constexpr int kFirstWithFp8 = 89;  // compute capability
constexpr int64_t kGranule = 16;   // widths of ATen's product

int capability_of(int device) {
  int major = 0;
  int minor = 0;
  const bool known =
      cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, device) == cudaSuccess &&
      cudaDeviceGetAttribute(&minor, cudaDevAttrComputeCapabilityMinor, device) == cudaSuccess;
  return known ? 10 * major + minor : 0;
}

// Scales of rows and columns, bias in bf16, rounded once to bf16.
at::Tensor scaled_product(const Int8Product& product) {
  std::optional<at::Tensor> bias;
  if (product.bias.defined()) bias = product.bias.to(at::kBFloat16);
  return at::_scaled_mm(product.x.values, product.weight.values.t(),
                        product.x.row_scale.unsqueeze(1), product.weight.row_scale.unsqueeze(0),
                        bias, /*scale_result=*/std::nullopt, at::kBFloat16,
                        /*use_fast_accum=*/false);
}

// The sums before scales and bias, fp32.
at::Tensor plain_sums(const Int8Product& product) {
  const at::Tensor& x = product.x.values;
  const at::Tensor columns = product.weight.values.t();
  if (product.weight.out_features % kGranule != 0)
    return at::mm(x.to(at::kFloat), columns.to(at::kFloat));
  const at::Tensor one = at::ones({}, product.x.row_scale.options());
  return at::_scaled_mm(x, columns, one, one, /*bias=*/std::nullopt, /*scale_result=*/std::nullopt,
                        at::kFloat, /*use_fast_accum=*/false);
}

}  // namespace

void require_fp8(const at::Tensor& x) {
  const int capability = capability_of(x.device().index());
  T2V_REQUIRE(capability >= kFirstWithFp8, ErrorKind::kDevice,
              "fp8 products need a GPU of compute capability 8.9 or newer, device ",
              static_cast<int>(x.device().index()), " has ", capability / 10, ".", capability % 10,
              "; try --quant int8");
}

at::Tensor fp8_linear(const Int8Product& product) {
  require_fp8(product.x.values);
  const c10::cuda::CUDAGuard guard(product.x.values.device());
  at::Tensor y;
  if (product.out == at::kBFloat16 && product.weight.out_features % kGranule == 0) {
    y = scaled_product(product);
  } else {
    y = plain_sums(product);
    y.mul_(product.x.row_scale.unsqueeze(1)).mul_(product.weight.row_scale);
    if (product.bias.defined()) y.add_(product.bias);
  }
  if (product.gelu) at::gelu_(y, "tanh");
  return y.to(product.out);
}

}  // namespace t2v::ops::cuda
