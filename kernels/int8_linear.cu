// Linear layers on int8: a block of 8 warps makes 128 x 256 outputs with mma m16n8k32, its operands
// come through a ring of four stages in shared memory.
#include "device/int8_epilogue.cuh"
#include "device/launch.cuh"

namespace t2v::kernels {
namespace {

constexpr std::int64_t kMaxDepth = 131056;
constexpr std::int64_t kMaxColumns8 = std::int64_t{1} << 24;
constexpr std::int64_t kMaxByteStride = std::int64_t{1} << 24;

template <Int8Epilogue kEpilogue, typename Out>
__global__ void __launch_bounds__(Int8Tile::kThreads, 1)
    int8_linear_kernel(const __grid_constant__ Int8LinearParams params) {
  const TileAt at =
      place_of_tile(static_cast<int>(blockIdx.x), params.tile_rows, params.tile_columns);
  Int8Tile::Sums sums = {};
  multiply_tile(sums, params.args, at);
  __syncthreads();  // the ring becomes the warps' output tiles
  const WarpPlace place(at);
  Int8Writer<kEpilogue, Out>(params.args, place).write(sums);
}

template <Int8Epilogue kEpilogue, typename Out>
cudaError_t launch(const Int8LinearParams& params, cudaStream_t stream) {
  void (*const kernel)(Int8LinearParams) = int8_linear_kernel<kEpilogue, Out>;
  const cudaError_t status =
      cudaFuncSetAttribute(reinterpret_cast<const void*>(kernel),
                           cudaFuncAttributeMaxDynamicSharedMemorySize, Int8Tile::kSharedBytes);
  if (status != cudaSuccess) return status;
  cudaLaunchConfig_t config{};
  config.gridDim = dim3(static_cast<unsigned>(params.tile_rows * params.tile_columns));
  config.blockDim = dim3(Int8Tile::kThreads);
  config.dynamicSmemBytes = Int8Tile::kSharedBytes;
  config.stream = stream;
  return cudaLaunchKernelEx(&config, kernel, params);
}

bool valid_sizes(const Int8LinearArgs& args) noexcept {
  return args.rows >= 0 && args.rows < kMaxBlocks - Int8Tile::kRows && args.columns >= 8 &&
         args.columns <= kMaxColumns8 && args.columns % 8 == 0 && args.depth >= 16 &&
         args.depth <= kMaxDepth && args.depth % 16 == 0 &&
         divide_up(args.rows, Int8Tile::kRows) * divide_up(args.columns, Int8Tile::kColumns) <=
             kMaxBlocks;
}

bool valid_epilogue(const Int8LinearArgs& args) noexcept {
  switch (args.epilogue) {
    case Int8Epilogue::kStore:
    case Int8Epilogue::kGelu:
      return args.gate == nullptr && element_bytes(args.out_dtype) != 0;
    case Int8Epilogue::kResidual:
      return args.out_dtype == DType::kFloat32;
  }
  return false;
}

}  // namespace

cudaError_t int8_linear(const Int8LinearArgs& args, cudaStream_t stream) noexcept {
  if (!valid_sizes(args) || !valid_epilogue(args)) return cudaErrorInvalidValue;
  if (args.rows == 0) return cudaSuccess;
  const RowOperand operands[] = {
      {address_of(args.x), args.x_row_stride, 1},
      {address_of(args.weight), args.weight_row_stride, 1},
      {address_of(args.out), args.out_row_stride, element_bytes(args.out_dtype)}};
  if (!valid_matrix(operands[0], args.depth) || !valid_matrix(operands[1], args.depth) ||
      !valid_matrix(operands[2], args.columns) || args.x_row_stride > kMaxByteStride ||
      args.weight_row_stride > kMaxByteStride || !args.x_scale || !args.weight_scale) {
    return cudaErrorInvalidValue;
  }
  for (const RowOperand& operand : operands) {
    if (operand.address % kAccessBytes != 0 ||
        operand.row_stride * operand.bytes_per_element % kAccessBytes != 0)
      return cudaErrorMisalignedAddress;
  }
  for (const float* vector : {args.x_scale, args.weight_scale, args.bias, args.gate}) {
    if (address_of(vector) % sizeof(float) != 0) return cudaErrorMisalignedAddress;
  }
  Int8LinearParams params;
  params.args = args;
  params.tile_rows = static_cast<int>(divide_up(args.rows, Int8Tile::kRows));
  params.tile_columns = static_cast<int>(divide_up(args.columns, Int8Tile::kColumns));
  if (args.epilogue == Int8Epilogue::kResidual)
    return launch<Int8Epilogue::kResidual, float>(params, stream);
  return with_type(args.out_dtype, [&](auto out) {
    using Out = typename decltype(out)::type;
    return args.epilogue == Int8Epilogue::kGelu ? launch<Int8Epilogue::kGelu, Out>(params, stream)
                                                : launch<Int8Epilogue::kStore, Out>(params, stream);
  });
}

}  // namespace t2v::kernels
