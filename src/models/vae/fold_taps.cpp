#include "models/vae/fold_taps.h"

#include <ATen/ops/stack.h>

namespace t2v::models::vae {
namespace {

// Taps of a kernel of three along `dim`, as seen from the small picture: even outputs see the pixel
// before and their own, odd ones their own and the next.
at::Tensor fold_taps(const at::Tensor& weight, int64_t dim, int64_t parity) {
  const at::Tensor first = weight.select(dim, 0), middle = weight.select(dim, 1),
                   last = weight.select(dim, 2);
  return parity == 0 ? at::stack({first, middle + last}, dim)
                     : at::stack({first + middle, last}, dim);
}

}  // namespace

std::vector<at::Tensor> folded_phases(const at::Tensor& weight) {
  std::vector<at::Tensor> phases;
  for (int64_t row = 0; row < 2; ++row)
    for (int64_t column = 0; column < 2; ++column)
      phases.push_back(fold_taps(fold_taps(weight, 2, row), 3, column));
  return phases;
}

}  // namespace t2v::models::vae
