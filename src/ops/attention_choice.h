// Which attention kernel `auto` takes on CUDA: a table by architecture, type and size.
#pragma once

#include <c10/core/ScalarType.h>

#include <cstdint>

namespace t2v::ops {

enum class CudaAttention { kCudnn, kFlash, kOwn, kOwnInt8, kEfficient, kReference };

// One self-attention: compute capability times 10 (80, 89, 90, 120), type, head size, tokens.
struct AttentionShape {
  int capability = 0;
  at::ScalarType dtype = at::kBFloat16;
  int64_t head_size = 128;
  int64_t tokens = 0;
};

struct AttentionChoice {
  CudaAttention kernel = CudaAttention::kReference;
  const char* reason = "";  // figures where measured, else "not measured: ..."
};

// Never a kernel that cannot run the shape. Pure.
AttentionChoice choose_attention(const AttentionShape& shape);

// Whether a kernel can run the shape at all.
bool can_run(CudaAttention kernel, const AttentionShape& shape);

}  // namespace t2v::ops
