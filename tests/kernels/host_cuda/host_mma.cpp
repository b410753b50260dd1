#include "host_cuda/host_mma.h"

#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <memory>
#include <vector>

#include "host_cuda/host_cuda.h"

namespace t2v::host_cuda {

using kernels::SharedAddress;

long num_bank_conflicts = 0;

namespace {

constexpr std::uint32_t kSharedStart = 1024;  // addresses in shared memory do not begin at 0
constexpr std::uint32_t kAccess = 16;
constexpr int kPoison = 0xff;  // NaN in every type

struct alignas(1024) Kilobyte {
  unsigned char bytes[1024];
};

struct Copy {
  unsigned char* target;
  const void* source;
  bool valid;
};

// What one lane brings to an operation of its warp, and takes from it.
struct Lane {
  SharedAddress row = 0;
  std::uint32_t a[4] = {};
  std::uint32_t b[2] = {};
  float d[4] = {};
  std::int32_t sums[4] = {};
};

std::vector<Kilobyte> shared;
std::size_t shared_size = 0;
std::vector<Lane> lanes_of_block;
std::vector<std::deque<std::vector<Copy>>> copies;  // per thread: groups, the last one still open

[[noreturn]] void fail(const char* why) {
  std::fprintf(stderr, "host_cuda: %s (block %u, thread %u)\n", why, blockIdx.x, threadIdx.x);
  std::abort();
}

unsigned char* at(SharedAddress address) {
  if (address % kAccess != 0) fail("a shared address is not a multiple of 16");
  if (address < kSharedStart || address - kSharedStart + kAccess > shared_size)
    fail("a shared address lies outside");
  return shared[0].bytes + (address - kSharedStart);
}

std::uint16_t element(SharedAddress row, unsigned column) {
  std::uint16_t value = 0;
  std::memcpy(&value, at(row) + 2 * column, 2);
  return value;
}

void count_conflicts(const Lane* eight) {
  unsigned used = 0;
  for (int i = 0; i < 8; ++i) used |= 1U << (eight[i].row / kAccess % 8);
  num_bank_conflicts += used != 0xff;
}

// PTX ISA, ldmatrix: thread i of a group of eight addresses row i of its matrix; each thread gets
// row lane/4, elements 2*(lane%4) and the next, of every matrix.
template <bool kTransposed>
void load_all(unsigned first, unsigned lanes) {
  if (lanes != 32) fail("ldmatrix by part of a warp");
  Lane* const lane = &lanes_of_block[first];
  for (unsigned m = 0; m < 4; ++m) {
    count_conflicts(lane + 8 * m);
    for (unsigned i = 0; i < 32; ++i) {
      std::uint16_t pair[2];
      for (unsigned e = 0; e < 2; ++e) {
        const unsigned row = i / 4;
        const unsigned column = i % 4 * 2 + e;
        pair[e] = kTransposed ? element(lane[8 * m + column].row, row)
                              : element(lane[8 * m + row].row, column);
      }
      lane[i].a[m] = pair[0] | static_cast<std::uint32_t>(pair[1]) << 16;
    }
  }
}

void load(std::uint32_t (&to)[4], SharedAddress row, void (*operation)(unsigned, unsigned)) {
  const unsigned thread = threadIdx.x;
  lanes_of_block[thread].row = row;
  meet_warp(operation);
  std::copy_n(lanes_of_block[thread].a, 4, to);
}

float wide(std::uint16_t bits, __nv_bfloat16 /*type*/) {
  const std::uint32_t word = static_cast<std::uint32_t>(bits) << 16;
  float value = 0;
  std::memcpy(&value, &word, 4);
  return value;
}
float wide(std::uint16_t bits, __half /*type*/) { return __half2float(__ushort_as_half(bits)); }

template <typename T>
float half_of(std::uint32_t word, unsigned half) {
  return wide(static_cast<std::uint16_t>(word >> (16 * half)), T{});
}

// PTX ISA, "Matrix Fragments for mma.m16n8k16 with floating point type", in its words:
// groupID = lane >> 2, threadID_in_group = lane % 4.
template <typename T>
void multiply_all(unsigned first, unsigned lanes) {
  if (lanes != 32) fail("mma by part of a warp");
  Lane* const lane = &lanes_of_block[first];
  float a[16][16];
  float b[8][16];  // [n][k]
  for (unsigned l = 0; l < 32; ++l) {
    const unsigned group = l >> 2;
    const unsigned in_group = l % 4;
    for (unsigned i = 0; i < 8; ++i) {
      const unsigned row = i < 2 || (i >= 4 && i < 6) ? group : group + 8;
      const unsigned column = in_group * 2 + (i & 1) + (i < 4 ? 0 : 8);
      a[row][column] = half_of<T>(lane[l].a[i / 2], i & 1);
    }
    for (unsigned i = 0; i < 4; ++i) {
      const unsigned row = in_group * 2 + (i & 1) + (i < 2 ? 0 : 8);
      b[group][row] = half_of<T>(lane[l].b[i / 2], i & 1);
    }
  }
  for (unsigned l = 0; l < 32; ++l) {
    for (unsigned i = 0; i < 4; ++i) {
      const unsigned row = i < 2 ? l >> 2 : (l >> 2) + 8;
      const unsigned column = l % 4 * 2 + (i & 1);
      float sum = 0;
      for (unsigned k = 0; k < 16; ++k) sum += a[row][k] * b[column][k];
      lane[l].d[i] += sum;
    }
  }
}

int byte_of(std::uint32_t word, unsigned place) {
  return static_cast<std::int8_t>(word >> (8 * place));
}

// PTX ISA, "Matrix Fragments for mma.m16n8k32", int8. Sums wrap as on the device (no .satfinite).
void multiply_bytes(unsigned first, unsigned lanes) {
  if (lanes != 32) fail("mma by part of a warp");
  Lane* const lane = &lanes_of_block[first];
  int a[16][32];
  int b[8][32];  // [n][k]
  for (unsigned l = 0; l < 32; ++l) {
    const unsigned group = l >> 2;
    const unsigned in_group = l % 4;
    for (unsigned i = 0; i < 16; ++i) {
      const unsigned row = i < 4 || (i >= 8 && i < 12) ? group : group + 8;
      const unsigned column = in_group * 4 + (i & 3) + (i < 8 ? 0 : 16);
      a[row][column] = byte_of(lane[l].a[i / 4], i & 3);
    }
    for (unsigned i = 0; i < 8; ++i) {
      const unsigned row = in_group * 4 + (i & 3) + (i < 4 ? 0 : 16);
      b[group][row] = byte_of(lane[l].b[i / 4], i & 3);
    }
  }
  for (unsigned l = 0; l < 32; ++l) {
    for (unsigned i = 0; i < 4; ++i) {
      const unsigned row = i < 2 ? l >> 2 : (l >> 2) + 8;
      const unsigned column = l % 4 * 2 + (i & 1);
      auto sum = static_cast<std::uint32_t>(lane[l].sums[i]);
      for (unsigned k = 0; k < 32; ++k) sum += static_cast<std::uint32_t>(a[row][k] * b[column][k]);
      lane[l].sums[i] = static_cast<std::int32_t>(sum);
    }
  }
}

template <typename T>
void multiply(float (&d)[4], const std::uint32_t (&a)[4], std::uint32_t b0, std::uint32_t b1) {
  const unsigned thread = threadIdx.x;
  Lane& lane = lanes_of_block[thread];
  std::copy_n(a, 4, lane.a);
  std::copy_n(d, 4, lane.d);
  lane.b[0] = b0;
  lane.b[1] = b1;
  meet_warp(multiply_all<T>);
  std::copy_n(lane.d, 4, d);
}

void arrive(const Copy& copy) {
  if (copy.valid)
    std::memcpy(copy.target, copy.source, kAccess);
  else
    std::memset(copy.target, 0, kAccess);
}

}  // namespace

void reset_block_memory(std::size_t shared_bytes, unsigned num_threads) {
  shared_size = shared_bytes;
  shared.resize(shared_bytes / sizeof(Kilobyte) + 1);
  std::memset(shared[0].bytes, kPoison, shared.size() * sizeof(Kilobyte));
  lanes_of_block.assign(num_threads, {});
  copies.assign(num_threads, {});
}

}  // namespace t2v::host_cuda

namespace t2v::kernels {

using host_cuda::Copy;
using host_cuda::fail;

unsigned char* dynamic_shared() { return host_cuda::shared[0].bytes; }

SharedAddress shared_address(const void* pointer) {
  return host_cuda::kSharedStart +
         static_cast<SharedAddress>(static_cast<const unsigned char*>(pointer) -
                                    host_cuda::shared[0].bytes);
}

void copy_async(SharedAddress target, const void* source, bool valid) {
  if (reinterpret_cast<std::uintptr_t>(source) % host_cuda::kAccess != 0)
    fail("cp.async from an address that is not a multiple of 16");
  unsigned char* const to = host_cuda::at(target);
  std::memset(to, host_cuda::kPoison, host_cuda::kAccess);
  auto& groups = host_cuda::copies[threadIdx.x];
  if (groups.empty()) groups.emplace_back();
  groups.back().push_back({to, source, valid});
}

void commit_copies() {
  auto& groups = host_cuda::copies[threadIdx.x];
  if (groups.empty()) groups.emplace_back();
  groups.emplace_back();
}

void wait_for_copies(int pending) {
  auto& groups = host_cuda::copies[threadIdx.x];
  while (groups.size() > static_cast<std::size_t>(pending) + 1) {
    for (const Copy& copy : groups.front()) host_cuda::arrive(copy);
    groups.pop_front();
  }
}

void load_matrices(std::uint32_t (&to)[4], SharedAddress row) {
  host_cuda::load(to, row, host_cuda::load_all<false>);
}

void load_matrices_transposed(std::uint32_t (&to)[4], SharedAddress row) {
  host_cuda::load(to, row, host_cuda::load_all<true>);
}

void multiply_add(float (&d)[4], const std::uint32_t (&a)[4], std::uint32_t b0, std::uint32_t b1,
                  __nv_bfloat16 /*type*/) {
  host_cuda::multiply<__nv_bfloat16>(d, a, b0, b1);
}

void multiply_add(float (&d)[4], const std::uint32_t (&a)[4], std::uint32_t b0, std::uint32_t b1,
                  __half /*type*/) {
  host_cuda::multiply<__half>(d, a, b0, b1);
}

void multiply_add(std::int32_t (&d)[4], const std::uint32_t (&a)[4], std::uint32_t b0,
                  std::uint32_t b1) {
  host_cuda::Lane& lane = host_cuda::lanes_of_block[threadIdx.x];
  std::copy_n(a, 4, lane.a);
  std::copy_n(d, 4, lane.sums);
  lane.b[0] = b0;
  lane.b[1] = b1;
  host_cuda::meet_warp(host_cuda::multiply_bytes);
  std::copy_n(lane.sums, 4, d);
}

float fast_exp2(float x) {
  const float result = std::exp2(x);
  return result < 0x1p-126F ? 0.0F : result;  // NaN stays
}

}  // namespace t2v::kernels
