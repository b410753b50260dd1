// Nearest-neighbour doubling and a 3x3 convolution behind it as four 2x2 convolutions over the
// small picture, one for each parity of the large one's rows and columns: 2.25 times less work.
#pragma once

#include <ATen/core/Tensor.h>

#include <vector>

namespace t2v::models::vae {

// weight [O, C, 3, 3] -> [row parity * 2 + column parity] of [O, C, 2, 2].
std::vector<at::Tensor> folded_phases(const at::Tensor& weight);

}  // namespace t2v::models::vae
