#include "models/wan/head.h"

#include <ATen/ops/add.h>

#include "models/wan/weights.h"
#include "ops/norm.h"

namespace t2v::models::wan {

void Head::expect(const TransformerSpec& spec, weights::Expectations& expected) {
  expected.tensors.push_back({"head.modulation", {1, 2, spec.size()}});
  expect_linear("head.head", spec.out_channels * spec.patch_height * spec.patch_width, spec.size(),
                expected);
}

Head::Head(const TransformerSpec& spec, const weights::WeightSource& source, at::Device device)
    : eps_(spec.eps) {
  const Placement from{source, at::kFloat, device};
  modulation_ = from.fp32("head.modulation").squeeze(0);
  head_ = load_linear(from, "head.head");
}

at::Tensor Head::operator()(const at::Tensor& x, const at::Tensor& time) const {
  const auto rows = at::add(modulation_, time).unbind(0);
  return head_(ops::layer_norm_modulate(x, rows[1], rows[0], eps_, at::kFloat));
}

}  // namespace t2v::models::wan
