#include "ops/attention_choice.h"

#include <limits>

namespace t2v::ops {
namespace {

constexpr int kAnyCapability = 10000;
constexpr int64_t kAnyCount = std::numeric_limits<int64_t>::max();

struct Row {
  int first_capability, last_capability;
  int64_t first_token, last_token;
  CudaAttention kernel;
  const char* reason;
};

// 16-bit self-attention. The first row that covers the shape and can run it. To fill in a figure:
// `t2v bench` on the device, then TFLOP/s of cudnn, flash and own at the row's sizes in `reason`.
// Rows may not overlap by accident: order decides.
constexpr Row kRows[] = {
    {80, kAnyCapability, 0, 2047, CudaAttention::kFlash,
     "not measured: cuDNN plans each new shape on the host, which short sequences do not repay"},
    {80, 89, 2048, kAnyCount, CudaAttention::kFlash,
     "not measured: LibTorch's flash attention was written for these (mma.sync, cp.async)"},
    {90, 99, 2048, kAnyCount, CudaAttention::kCudnn,
     "not measured: cuDNN uses wgmma and TMA, flash and own use mma.sync"},
    {100, 119, 2048, kAnyCount, CudaAttention::kCudnn,
     "not measured: cuDNN uses the fifth generation's tensor memory, flash and own use mma.sync"},
    {120, kAnyCapability, 2048, kAnyCount, CudaAttention::kFlash,
     "not measured: no wgmma here, so mma.sync kernels lose nothing; flash is the mature one"},
    {80, kAnyCapability, 0, kAnyCount, CudaAttention::kFlash,
     "not measured: the only fused kernel for this head size"},
};

}  // namespace

bool can_run(CudaAttention kernel, const AttentionShape& shape) {
  const bool narrow = shape.dtype == at::kBFloat16 || shape.dtype == at::kHalf;
  switch (kernel) {
    case CudaAttention::kCudnn:
      return narrow && shape.capability >= 80 && shape.head_size % 8 == 0 && shape.head_size <= 128;
    case CudaAttention::kFlash:
      return narrow && shape.capability >= 80 && shape.head_size % 8 == 0 && shape.head_size <= 256;
    case CudaAttention::kOwn:
    case CudaAttention::kOwnInt8:
      return narrow && shape.capability >= 80 && (shape.head_size == 64 || shape.head_size == 128);
    case CudaAttention::kEfficient:
      return shape.dtype == at::kFloat && shape.capability >= 80 && shape.head_size % 4 == 0;
    case CudaAttention::kReference:
      return true;
  }
  return false;
}

AttentionChoice choose_attention(const AttentionShape& shape) {
  if (can_run(CudaAttention::kEfficient, shape))
    return {CudaAttention::kEfficient, "not measured: the only fused kernel for fp32"};
  for (const Row& row : kRows) {
    if (shape.capability >= row.first_capability && shape.capability <= row.last_capability &&
        shape.tokens >= row.first_token && shape.tokens <= row.last_token &&
        can_run(row.kernel, shape))
      return {row.kernel, row.reason};
  }
  return {CudaAttention::kReference, "no fused kernel takes this type and head size"};
}

}  // namespace t2v::ops
