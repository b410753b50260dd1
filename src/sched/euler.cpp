#include "sched/euler.h"

#include <ATen/ops/add.h>

namespace t2v::sched {

at::Tensor Euler::step(const at::Tensor& latents, const at::Tensor& model_output,
                       int64_t step_index) {
  return at::add(latents, model_output,
                 scalars_.sigma(step_index + 1) - scalars_.sigma(step_index));
}

}  // namespace t2v::sched
