// One pass from the packed projection to attention's inputs: RMSNorm of q and k across all heads,
// 3-D rotary embedding of q and k, heads split.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>

#include "t2v/kernels/dtype.h"

namespace t2v::kernels {

// Cosines and sines of one axis, fp32 [positions, pairs], dense. Null only when pairs is 0.
struct RopeAxisTable {
  const float* cos = nullptr;
  const float* sin = nullptr;
};

// Row i of `qkv` holds q, k, v of token l = first_token + i = (frame * height + row) * width +
// column, each [num_heads, head_size]; a sequence may come in pieces, the tokens of no piece stay
// as they are. num_heads * head_size <= 16384; head_size even and <= 1024;
// 3 * frames * height * width < 2^31; qkv_row_stride (elements) from 3 * num_heads * head_size to
// 2^29. Pointers are aligned to their element; 16-byte accesses are used when all of them, the
// stride and head_size allow it, else single elements. Inputs and outputs do not overlap.
// New fields (int8 q and k, sums of k per head) come at the end, off by default.
struct QkNormRopeArgs {
  const void* qkv = nullptr;
  void* q = nullptr;  // [num_heads, num_tokens, head_size], dense, as k and v
  void* k = nullptr;
  void* v = nullptr;
  const float* norm_q = nullptr;  // [num_heads * head_size]
  const float* norm_k = nullptr;
  RopeAxisTable frame_table;   // [frames, head_size/2 - 2*(head_size/6)]
  RopeAxisTable row_table;     // [height, head_size/6]
  RopeAxisTable column_table;  // [width, head_size/6]
  std::int64_t frames = 0;
  std::int64_t height = 0;
  std::int64_t width = 0;
  std::int64_t num_heads = 0;
  std::int64_t head_size = 0;
  std::int64_t first_token = 0;
  std::int64_t rows = 0;  // of qkv; first_token + rows <= num_tokens = frames * height * width
  std::int64_t qkv_row_stride = 0;
  float eps = 1e-6F;
  DType dtype = DType::kFloat32;  // of qkv, q, k and v
};

// Norm and rotation in fp32, rounded once; v is copied bit by bit. Pairs are interleaved: channels
// (2j, 2j+1) turn by the angle of pair j. cudaErrorInvalidValue or cudaErrorMisalignedAddress for
// broken preconditions, before any launch.
cudaError_t qk_norm_rope(const QkNormRopeArgs& args, cudaStream_t stream) noexcept;

}  // namespace t2v::kernels
