// Flash attention of int8 queries and keys: the same loop with other tiles and products.
#include "device/flash_launch.cuh"
#include "device/flash_loop.cuh"
#include "t2v/kernels/flash_attention_int8.h"

namespace t2v::kernels {
namespace {

template <typename Shape>
cudaError_t launch(const FlashInt8Params& params, cudaStream_t stream) {
  return launch_flash(flash_attention_kernel<Shape, DenseBlocks>, params, Shape::kThreads,
                      Shape::kSharedBytes, stream);
}

// Four warps where two of their blocks, each with 64 KiB and 1 KiB of the system's, fit one
// multiprocessor.
cudaError_t choose_variant(FlashVariant& variant) noexcept {
  constexpr int kBytesOfTwo = 2 * 65 * 1024;
  int bytes = 0;
  const cudaError_t status = shared_bytes_per_multiprocessor(bytes);
  variant =
      bytes >= kBytesOfTwo ? FlashVariant::kFourWarpsTwoStages : FlashVariant::kEightWarpsTwoStages;
  return status;
}

template <typename T>
cudaError_t launch_variant(const FlashInt8Params& params, cudaStream_t stream) {
  FlashVariant variant = params.args.variant;
  if (params.args.head_size == 64) {
    if (variant != FlashVariant::kAuto && variant != FlashVariant::kFourWarpsTwoStages)
      return cudaErrorInvalidValue;
    return launch<FlashShape<T, 64, 4, 2, std::int8_t>>(params, stream);
  }
  if (variant == FlashVariant::kAuto) {
    const cudaError_t status = choose_variant(variant);
    if (status != cudaSuccess) return status;
  }
  if (variant == FlashVariant::kFourWarpsTwoStages)
    return launch<FlashShape<T, 128, 4, 2, std::int8_t>>(params, stream);
  if (variant == FlashVariant::kEightWarpsTwoStages)
    return launch<FlashShape<T, 128, 8, 2, std::int8_t>>(params, stream);
  return cudaErrorInvalidValue;
}

}  // namespace

cudaError_t flash_attention_int8(const FlashAttentionInt8Args& args, cudaStream_t stream) noexcept {
  FlashAttentionArgs attention = args.attention;
  attention.scale = 1.0F;  // stands in the scales
  if (!valid_types(attention) || !valid_sizes(attention) || attention.key_bias ||
      !has_no_lists(attention) || !args.q_scale || !args.k_scale)
    return cudaErrorInvalidValue;
  if (attention.num_queries == 0) return cudaSuccess;
  const int bytes = element_bytes(attention.dtype);
  const Operand operands[] = {
      {attention.q, attention.q_head_stride, attention.q_row_stride, 1},
      {attention.k, attention.k_head_stride, attention.k_row_stride, 1},
      {attention.v, attention.v_head_stride, attention.v_row_stride, bytes},
      {attention.out, attention.out_head_stride, attention.out_row_stride, bytes}};
  const cudaError_t checked = check_operands(operands, attention.head_size);
  if (checked != cudaSuccess) return checked;
  const float* const floats[] = {args.q_scale, args.k_scale, attention.lse};
  for (const float* pointer : floats) {
    if (address_of(pointer) % sizeof(float) != 0) return cudaErrorMisalignedAddress;
  }
  FlashInt8Params params;
  derive(params, attention);
  params.q_scale = args.q_scale;
  params.k_scale = args.k_scale;
  params.num_query_groups = static_cast<int>(divide_up(attention.num_queries, kInt8QueryGroup));
  return attention.dtype == DType::kBFloat16 ? launch_variant<__nv_bfloat16>(params, stream)
                                             : launch_variant<__half>(params, stream);
}

}  // namespace t2v::kernels
