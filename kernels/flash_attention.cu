// Flash attention of 16-bit queries, keys and values: the variants and their launcher.
#include "device/flash_launch.cuh"
#include "device/flash_loop.cuh"
#include "t2v/kernels/flash_attention.h"

namespace t2v::kernels {
namespace {

bool valid_lists(const FlashAttentionArgs& args) noexcept {
  const KeyBlockList& list = args.list;
  const KeyBlockTable& table = args.table;
  if ((list.lut == nullptr) != (list.counts == nullptr)) return false;
  if (list.lut && (list.max_blocks < 1 || list.max_blocks > kMaxBlocks ||
                   (list.scope != ListScope::kPerHead && list.scope != ListScope::kSharedByHeads)))
    return false;
  if ((table.first_row == nullptr) != (table.num_rows == nullptr)) return false;
  return !table.first_row || (table.num_blocks >= 1 && table.num_blocks <= kMaxBlocks);
}

template <typename Shape, typename Blocks>
cudaError_t launch(const FlashParams& params, cudaStream_t stream) {
  return launch_flash(flash_attention_kernel<Shape, Blocks>, params, Shape::kThreads,
                      Shape::kSharedBytes, stream);
}

template <typename Shape>
cudaError_t launch_blocks(const FlashParams& params, cudaStream_t stream) {
  const bool listed = params.args.list.lut || params.args.table.first_row;
  return listed ? launch<Shape, ListedBlocks>(params, stream)
                : launch<Shape, DenseBlocks>(params, stream);
}

// The variant whose two blocks (each with 1 KiB of the system's) fit one multiprocessor.
cudaError_t choose_variant(FlashVariant& variant) noexcept {
  constexpr int kKiB = 1024;
  int bytes = 0;
  const cudaError_t status = shared_bytes_per_multiprocessor(bytes);
  if (status != cudaSuccess) return status;
  variant = bytes >= 2 * 97 * kKiB   ? FlashVariant::kFourWarpsTwoStages
            : bytes >= 2 * 65 * kKiB ? FlashVariant::kFourWarpsOneStage
                                     : FlashVariant::kEightWarpsTwoStages;
  return cudaSuccess;
}

// See the kernel's first lines.
bool runs_one_stage() noexcept {
  int device = 0;
  int major = 0;
  return cudaGetDevice(&device) == cudaSuccess &&
         cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, device) == cudaSuccess &&
         major < 12;
}

template <typename T>
cudaError_t launch_variant(const FlashParams& params, cudaStream_t stream) {
  FlashVariant variant = params.args.variant;
  if (params.args.head_size == 64) {
    if (variant != FlashVariant::kAuto && variant != FlashVariant::kFourWarpsTwoStages)
      return cudaErrorInvalidValue;
    return launch_blocks<FlashShape<T, 64, 4, 2>>(params, stream);
  }
  if (variant == FlashVariant::kAuto) {
    const cudaError_t status = choose_variant(variant);
    if (status != cudaSuccess) return status;
  }
  switch (variant) {
    case FlashVariant::kFourWarpsOneStage:
      if (!runs_one_stage()) return cudaErrorNotSupported;
      return launch_blocks<FlashShape<T, 128, 4, 1>>(params, stream);
    case FlashVariant::kFourWarpsTwoStages:
      return launch_blocks<FlashShape<T, 128, 4, 2>>(params, stream);
    case FlashVariant::kEightWarpsTwoStages:
      return launch_blocks<FlashShape<T, 128, 8, 2>>(params, stream);
    case FlashVariant::kAuto:
      break;
  }
  return cudaErrorInvalidValue;
}

}  // namespace

cudaError_t flash_attention(const FlashAttentionArgs& args, cudaStream_t stream) noexcept {
  if (!valid_types(args) || !valid_sizes(args) || !valid_lists(args)) return cudaErrorInvalidValue;
  if (args.num_queries == 0) return cudaSuccess;
  const int bytes = element_bytes(args.dtype);
  const Operand operands[] = {{args.q, args.q_head_stride, args.q_row_stride, bytes},
                              {args.k, args.k_head_stride, args.k_row_stride, bytes},
                              {args.v, args.v_head_stride, args.v_row_stride, bytes},
                              {args.out, args.out_head_stride, args.out_row_stride, bytes}};
  const cudaError_t checked = check_operands(operands, args.head_size);
  if (checked != cudaSuccess) return checked;
  const void* const words[] = {args.key_bias,        args.lse,
                               args.list.lut,        args.list.counts,
                               args.table.first_row, args.table.num_rows};
  for (const void* pointer : words) {
    if (address_of(pointer) % 4 != 0) return cudaErrorMisalignedAddress;
  }
  FlashParams params;
  derive(params, args);
  if (args.table.first_row) params.num_key_blocks = static_cast<int>(args.table.num_blocks);
  return args.dtype == DType::kBFloat16 ? launch_variant<__nv_bfloat16>(params, stream)
                                        : launch_variant<__half>(params, stream);
}

}  // namespace t2v::kernels
