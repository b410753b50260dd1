// The instructions of sm_80 that C++ has no name for: matrix product, matrix load, asynchronous
// copy, fast exp2; and dynamic shared memory. tests/kernels/host_cuda has a twin of each for runs
// on the host. The fragments' layout: mma_layout.h.
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <cstdint>
#include <cstring>

namespace t2v::kernels {

// Two 16-bit values in one register, the first in the low half. Round to nearest even.
__device__ inline std::uint32_t pack(float low, float high, __nv_bfloat16 /*type*/) {
  const __nv_bfloat162 pair = __floats2bfloat162_rn(low, high);
  std::uint32_t word = 0;
  memcpy(&word, &pair, sizeof(word));
  return word;
}
__device__ inline std::uint32_t pack(float low, float high, __half /*type*/) {
  const __half2 pair = __floats2half2_rn(low, high);
  std::uint32_t word = 0;
  memcpy(&word, &pair, sizeof(word));
  return word;
}

#if !defined(T2V_HOST_CUDA)

// An address in shared memory, as instructions take it.
using SharedAddress = std::uint32_t;

// The block's dynamic shared memory, aligned to 1024 bytes only if the kernel has no static one.
__device__ inline unsigned char* dynamic_shared() {
  extern __shared__ __align__(1024) unsigned char memory[];
  return memory;
}

__device__ inline SharedAddress shared_address(const void* pointer) {
  return static_cast<SharedAddress>(__cvta_generic_to_shared(pointer));
}

// 16 bytes from global to shared memory, both aligned to 16; zeros when not `valid` (the source is
// then not read). Visible to this thread after wait_copies, to others after a barrier behind it.
__device__ inline void copy_async(SharedAddress target, const void* source, bool valid) {
  const int bytes = valid ? 16 : 0;
  asm volatile("cp.async.cg.shared.global.L2::128B [%0], [%1], 16, %2;" ::"r"(target),
               "l"(__cvta_generic_to_global(source)), "r"(bytes)
               : "memory");
}

// Closes the group of copies issued since the last call.
__device__ inline void commit_copies() { asm volatile("cp.async.commit_group;" ::: "memory"); }

// Waits until at most kPending of this thread's latest groups are under way.
template <int kPending>
__device__ inline void wait_copies() {
  asm volatile("cp.async.wait_group %0;" ::"n"(kPending) : "memory");
}

// Four 8x8 matrices; see mma_layout.h for the lanes' addresses.
__device__ inline void load_matrices(std::uint32_t (&to)[4], SharedAddress row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(to[0]), "=r"(to[1]), "=r"(to[2]), "=r"(to[3])
               : "r"(row)
               : "memory");
}

// The same, each matrix transposed.
__device__ inline void load_matrices_transposed(std::uint32_t (&to)[4], SharedAddress row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(to[0]), "=r"(to[1]), "=r"(to[2]), "=r"(to[3])
               : "r"(row)
               : "memory");
}

// d += a * b, [16 x 8] += [16 x 16] * [16 x 8], fp32 sums.
__device__ inline void multiply_add(float (&d)[4], const std::uint32_t (&a)[4], std::uint32_t b0,
                                    std::uint32_t b1, __nv_bfloat16 /*type*/) {
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, "
      "{%8, %9}, {%0, %1, %2, %3};"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}
__device__ inline void multiply_add(float (&d)[4], const std::uint32_t (&a)[4], std::uint32_t b0,
                                    std::uint32_t b1, __half /*type*/) {
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, "
      "{%8, %9}, {%0, %1, %2, %3};"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

// d += a * b, [16 x 8] += [16 x 32] * [32 x 8] of int8, exact int32 sums. In bytes the fragments
// lie as those of m16n8k16: a lane's four int8 stand where its two 16-bit values would.
__device__ inline void multiply_add(std::int32_t (&d)[4], const std::uint32_t (&a)[4],
                                    std::uint32_t b0, std::uint32_t b1) {
  asm volatile(
      "mma.sync.aligned.m16n8k32.row.col.s32.s8.s8.s32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, "
      "{%8, %9}, {%0, %1, %2, %3};"
      : "+r"(d[0]), "+r"(d[1]), "+r"(d[2]), "+r"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

// 2^x within 2 ulp; subnormal results are 0; exactly 1 for 0 and 0 for -inf.
__device__ inline float fast_exp2(float x) {
  float result;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(result) : "f"(x));
  return result;
}

// The same value, of which the compiler knows nothing: what depends on it is computed here and now,
// not kept in registers since before the loop.
__device__ inline int computed_anew(int value) {
  asm volatile("" : "+r"(value));
  return value;
}

#endif  // !T2V_HOST_CUDA

}  // namespace t2v::kernels
