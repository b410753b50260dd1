// Twins of kernels/device/mma.cuh: what a warp exchanges goes from fibre to fibre, exactly by the
// layouts of the PTX ISA. Asynchronous copies arrive at the wait, not before, and poison their
// target until then. Misaligned or outside addresses end the process.
#pragma once

#include <algorithm>
#include <cstdint>

struct __nv_bfloat16;
struct __half;

#define T2V_HOST_CUDA 1

using std::min;

namespace t2v::kernels {

using SharedAddress = std::uint32_t;

unsigned char* dynamic_shared();
SharedAddress shared_address(const void* pointer);
void copy_async(SharedAddress target, const void* source, bool valid);
void commit_copies();
void wait_for_copies(int pending);
template <int kPending>
void wait_copies() {
  wait_for_copies(kPending);
}
void load_matrices(std::uint32_t (&to)[4], SharedAddress row);
void load_matrices_transposed(std::uint32_t (&to)[4], SharedAddress row);
void multiply_add(float (&d)[4], const std::uint32_t (&a)[4], std::uint32_t b0, std::uint32_t b1,
                  __nv_bfloat16 type);
void multiply_add(float (&d)[4], const std::uint32_t (&a)[4], std::uint32_t b0, std::uint32_t b1,
                  __half type);
void multiply_add(std::int32_t (&d)[4], const std::uint32_t (&a)[4], std::uint32_t b0,
                  std::uint32_t b1);
float fast_exp2(float x);
inline int computed_anew(int value) { return value; }

}  // namespace t2v::kernels

namespace t2v::host_cuda {

// Reads of 8x8 matrices whose rows share a bank, over all launches.
extern long num_bank_conflicts;

// For run_grid: new shared memory, poisoned, and no copies under way.
void reset_block_memory(std::size_t shared_bytes, unsigned num_threads);

}  // namespace t2v::host_cuda
