#include "host_cuda/host_cuda.h"

#include <ucontext.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <memory>
#include <vector>

uint3 threadIdx{};
uint3 blockIdx{};
dim3 blockDim{};

namespace t2v::host_cuda {

long num_blocks_run = 0;
Device device;

namespace {

constexpr std::size_t kStackBytes = 256 * 1024;
constexpr unsigned kWarp = 32;
constexpr std::size_t kSharedWithoutAsking = 48 * 1024;

enum class State { kReady, kAtWarp, kAtBlock, kDone };

using Operation = void (*)(unsigned first, unsigned lanes);

struct Fibre {
  ucontext_t context{};
  std::unique_ptr<char[]> stack;
  State state = State::kDone;
  Operation operation = nullptr;
};

ucontext_t scheduler;
std::vector<Fibre> fibres;
unsigned num_fibres = 0;
std::vector<float> exchanged;
std::vector<unsigned> partner_mask;
std::map<const void*, std::size_t> allowed_shared;
const std::function<void()>* current_body = nullptr;

[[noreturn]] void fail(const char* why) {
  std::fprintf(stderr, "host_cuda: %s (block %u, thread %u)\n", why, blockIdx.x, threadIdx.x);
  std::abort();
}

void run_body() {
  (*current_body)();
  fibres[threadIdx.x].state = State::kDone;
}

void start(Fibre& fibre) {
  if (!fibre.stack) fibre.stack = std::make_unique_for_overwrite<char[]>(kStackBytes);
  fibre.state = State::kReady;
  getcontext(&fibre.context);
  fibre.context.uc_stack.ss_sp = fibre.stack.get();
  fibre.context.uc_stack.ss_size = kStackBytes;
  fibre.context.uc_link = &scheduler;
  makecontext(&fibre.context, &run_body, 0);
}

// A ready lane of this warp, from `after` on; kWarp lanes are looked at. -1: none.
int ready_in_warp(unsigned warp, unsigned after) {
  const unsigned first = warp * kWarp;
  for (unsigned i = 0; i < kWarp; ++i) {
    const unsigned thread = first + (after + i) % kWarp;
    if (thread < num_fibres && fibres[thread].state == State::kReady)
      return static_cast<int>(thread);
  }
  return -1;
}

// Leaves this fibre for another lane of its warp, or for the scheduler.
void leave() {
  const unsigned self = threadIdx.x;
  const int next = ready_in_warp(self / kWarp, self % kWarp + 1);
  if (next < 0) {
    swapcontext(&fibres[self].context, &scheduler);
  } else {
    threadIdx.x = static_cast<unsigned>(next);
    swapcontext(&fibres[self].context, &fibres[static_cast<unsigned>(next)].context);
  }
}

// True when all lanes of the warp that live wait for one another; they go on.
bool complete_warp(unsigned warp) {
  const unsigned first = warp * kWarp;
  const unsigned end = std::min(first + kWarp, num_fibres);
  Operation operation = nullptr;
  for (unsigned i = first; i < end; ++i) {
    if (fibres[i].state == State::kDone) continue;
    if (fibres[i].state != State::kAtWarp) return false;
    if (operation && fibres[i].operation != operation) fail("lanes of a warp diverged");
    operation = fibres[i].operation;
  }
  if (!operation) return false;
  operation(first, end - first);
  for (unsigned i = first; i < end; ++i) {
    if (fibres[i].state == State::kAtWarp) fibres[i].state = State::kReady;
  }
  return true;
}

// True when all threads that live wait at the block's barrier; they go on.
bool complete_block() {
  bool any_waits = false;
  for (unsigned i = 0; i < num_fibres; ++i) {
    if (fibres[i].state == State::kDone) continue;
    if (fibres[i].state != State::kAtBlock) return false;
    any_waits = true;
  }
  for (unsigned i = 0; i < num_fibres; ++i) {
    if (fibres[i].state == State::kAtBlock) fibres[i].state = State::kReady;
  }
  return any_waits;
}

// Runs some warp until all its lanes wait or are done; false when none can run. Every second block
// begins with its last warp.
bool run_some_warp() {
  const unsigned num_warps = (num_fibres + kWarp - 1) / kWarp;
  for (unsigned i = 0; i < num_warps; ++i) {
    const unsigned warp = num_blocks_run % 2 == 0 ? i : num_warps - 1 - i;
    int thread = ready_in_warp(warp, 0);
    if (thread < 0 && complete_warp(warp)) thread = ready_in_warp(warp, 0);
    if (thread < 0) continue;
    for (; thread >= 0; thread = ready_in_warp(warp, 0)) {
      threadIdx.x = static_cast<unsigned>(thread);
      swapcontext(&scheduler, &fibres[threadIdx.x].context);
    }
    return true;
  }
  return false;
}

void run_block() {
  for (unsigned i = 0; i < num_fibres; ++i) start(fibres[i]);
  while (run_some_warp() || complete_block()) {
  }
  for (unsigned i = 0; i < num_fibres; ++i) {
    if (fibres[i].state != State::kDone) fail("threads wait for others that never come");
  }
  ++num_blocks_run;
}

void exchange(unsigned first, unsigned lanes) {
  float before[kWarp];
  std::copy_n(exchanged.begin() + first, lanes, before);
  for (unsigned i = 0; i < lanes; ++i) {
    const unsigned partner = i ^ partner_mask[first + i];
    if (partner < lanes) exchanged[first + i] = before[partner];
  }
}

void set_any(unsigned first, unsigned lanes) {
  float found = 0.0F;
  for (unsigned i = first; i < first + lanes; ++i) found = std::max(found, exchanged[i]);
  for (unsigned i = first; i < first + lanes; ++i) exchanged[i] = found;
}

}  // namespace

void run_grid(const dim3& grid, const dim3& block, std::size_t shared_bytes,
              const std::function<void()>& body) {
  blockDim = block;
  current_body = &body;
  num_fibres = block.x;
  if (fibres.size() < block.x) fibres.resize(block.x);
  exchanged.assign(block.x, 0.0F);
  partner_mask.assign(block.x, 0);
  for (unsigned i = 0; i < grid.x; ++i) {
    blockIdx.x = i;
    reset_block_memory(shared_bytes, block.x);
    run_block();
  }
}

bool allows_shared(const void* kernel, std::size_t bytes) {
  const auto found = allowed_shared.find(kernel);
  return bytes <= (found == allowed_shared.end() ? kSharedWithoutAsking : found->second);
}

void barrier() {
  fibres[threadIdx.x].state = State::kAtBlock;
  leave();
}

void meet_warp(Operation operation) {
  Fibre& self = fibres[threadIdx.x];
  self.state = State::kAtWarp;
  self.operation = operation;
  if (!complete_warp(threadIdx.x / kWarp)) leave();
}

float shuffle_xor(float value, int mask) {
  const unsigned thread = threadIdx.x;
  exchanged[thread] = value;
  partner_mask[thread] = static_cast<unsigned>(mask);
  meet_warp(exchange);
  return exchanged[thread];
}

bool any(bool value) {
  const unsigned thread = threadIdx.x;
  exchanged[thread] = value ? 1.0F : 0.0F;
  meet_warp(set_any);
  return exchanged[thread] != 0.0F;
}

}  // namespace t2v::host_cuda

extern "C" {

cudaError_t cudaFuncSetAttribute(const void* kernel, cudaFuncAttribute attribute, int value) {
  if (attribute != cudaFuncAttributeMaxDynamicSharedMemorySize || value < 0 ||
      value > t2v::host_cuda::device.shared_bytes_per_block)
    return cudaErrorInvalidValue;
  t2v::host_cuda::allowed_shared[kernel] = static_cast<std::size_t>(value);
  return cudaSuccess;
}

cudaError_t cudaGetDevice(int* number) {
  *number = 0;
  return cudaSuccess;
}

cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr attribute, int /*number*/) {
  if (attribute == cudaDevAttrMaxSharedMemoryPerMultiprocessor)
    *value = t2v::host_cuda::device.shared_bytes_per_multiprocessor;
  else if (attribute == cudaDevAttrComputeCapabilityMajor)
    *value = t2v::host_cuda::device.capability_major;
  else
    return cudaErrorInvalidValue;
  return cudaSuccess;
}

}  // extern "C"
