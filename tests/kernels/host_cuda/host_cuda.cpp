#include "host_cuda/host_cuda.h"

#include <ucontext.h>

#include <memory>
#include <vector>

uint3 threadIdx{};
uint3 blockIdx{};
dim3 blockDim{};

namespace t2v::host_cuda {

long num_blocks_run = 0;

namespace {

constexpr std::size_t kStackBytes = 64 * 1024;
constexpr unsigned kWarp = 32;

struct Fibre {
  ucontext_t context{};
  std::unique_ptr<char[]> stack;
  bool done = false;
};

ucontext_t scheduler;
std::vector<Fibre> fibres;
std::vector<float> exchanged;
const std::function<void()>* current_body = nullptr;

void run_body() {
  (*current_body)();
  fibres[threadIdx.x].done = true;
}

void start(Fibre& fibre) {
  if (!fibre.stack) fibre.stack = std::make_unique<char[]>(kStackBytes);
  fibre.done = false;
  getcontext(&fibre.context);
  fibre.context.uc_stack.ss_sp = fibre.stack.get();
  fibre.context.uc_stack.ss_size = kStackBytes;
  fibre.context.uc_link = &scheduler;
  makecontext(&fibre.context, &run_body, 0);
}

void run_block(unsigned num_threads) {
  for (unsigned i = 0; i < num_threads; ++i) start(fibres[i]);
  for (bool running = true; running;) {
    running = false;
    for (unsigned i = 0; i < num_threads; ++i) {
      if (fibres[i].done) continue;
      running = true;
      threadIdx.x = i;
      swapcontext(&scheduler, &fibres[i].context);
    }
  }
  ++num_blocks_run;
}

}  // namespace

void run_grid(const dim3& grid, const dim3& block, const std::function<void()>& body) {
  blockDim = block;
  current_body = &body;
  if (fibres.size() < block.x) fibres.resize(block.x);
  exchanged.assign(block.x, 0.0F);
  for (unsigned i = 0; i < grid.x; ++i) {
    blockIdx.x = i;
    run_block(block.x);
  }
}

void barrier() { swapcontext(&fibres[threadIdx.x].context, &scheduler); }

float shuffle_xor(float value, int mask) {
  const unsigned thread = threadIdx.x;
  exchanged[thread] = value;
  barrier();
  const unsigned other = thread / kWarp * kWarp + ((thread % kWarp) ^ static_cast<unsigned>(mask));
  const float result = exchanged[other];
  barrier();
  return result;
}

}  // namespace t2v::host_cuda
