// The VAE's norm with SiLU against its composed twin.
#include "ops/vae_norm.h"

#include <ATen/ATen.h>

#include <catch2/catch.hpp>

#include "support/compare.h"
#include "support/tolerance.h"

namespace {

using t2v::ops::NormActivation;
using t2v::testing::max_error;
using t2v::testing::mismatch;

at::Tensor twin(const at::Tensor& x, const at::Tensor& gamma, NormActivation activation) {
  const at::Tensor out = at::empty_like(x);
  t2v::ops::reference_ops().vae_norm(x, {}, gamma, activation, out);
  return out;
}

}  // namespace

TEST_CASE("vae_norm = composed twin", "[vae_norm]") {
  at::manual_seed(3);
  for (const auto type : {at::kFloat, at::kBFloat16}) {
    for (const int64_t channels : {1, 3, 7, 16, 96, 384}) {
      for (const auto activation : {NormActivation::kNone, NormActivation::kSilu}) {
        const at::Tensor x = (at::randn({2, 3, 5, channels}) * 30).to(type);
        const at::Tensor gamma = at::randn({channels}) + 1;
        // Into the inside of a padded buffer.
        const at::Tensor padded = at::zeros({2, 5, 7, channels}, type);
        const at::Tensor out = padded.narrow(1, 1, 3).narrow(2, 1, 5);
        t2v::ops::vae_norm(x, {}, gamma, activation, out);
        INFO("channels " << channels << " " << type);
        CHECK(mismatch(out, twin(x, gamma, activation), t2v::testing::tolerance_for(type)) == "");
        CHECK(padded.narrow(1, 0, 1).abs().max().item<float>() == 0);
        CHECK(padded.narrow(2, 6, 1).abs().max().item<float>() == 0);
      }
    }
  }
}

TEST_CASE("vae_norm in bf16 errs at most twice as far as its twin", "[vae_norm]") {
  const at::Tensor x = at::randn({1, 4, 4, 96}).to(at::kBFloat16);
  const at::Tensor gamma = at::randn({96});
  const at::Tensor out = at::empty_like(x);
  t2v::ops::vae_norm(x, {}, gamma, NormActivation::kSilu, out);
  const at::Tensor wide = x.to(at::kDouble);
  const at::Tensor y = wide / wide.norm(2, {3}, true) * std::sqrt(96.0) * gamma.to(at::kDouble);
  const at::Tensor truth = at::silu(y);
  CHECK(max_error(out.to(at::kDouble), truth) <=
        2 * max_error(twin(x, gamma, NormActivation::kSilu).to(at::kDouble), truth));
}

TEST_CASE("vae_norm at its edges", "[vae_norm]") {
  const at::Tensor gamma = at::ones({32});
  const at::Tensor out = at::empty({1, 1, 2, 32});
  t2v::ops::vae_norm(at::zeros({1, 1, 2, 32}), {}, gamma, NormActivation::kSilu, out);
  CHECK(out.abs().max().item<float>() == 0);
  // Far arguments of SiLU stay finite and right.
  const at::Tensor x = at::ones({1, 1, 2, 32});
  for (const double factor : {200.0, -200.0}) {
    t2v::ops::vae_norm(x, {}, gamma * factor, NormActivation::kSilu, out);
    CHECK(mismatch(out, at::full_like(out, factor > 0 ? factor : 0),
                   {.absolute = 1e-3, .relative = 1e-5}) == "");
  }
  at::Tensor broken = at::ones({1, 1, 2, 32});
  broken[0][0][1][5] = std::nan("");
  t2v::ops::vae_norm(broken, {}, gamma, NormActivation::kSilu, out);
  CHECK(out[0][0][1].isnan().all().item<bool>());
  CHECK_FALSE(out[0][0][0].isnan().any().item<bool>());
}

TEST_CASE("vae_norm with a bias = the norm of the sum", "[vae_norm]") {
  at::manual_seed(4);
  const at::Tensor x = at::randn({2, 3, 4, 48});
  const at::Tensor bias = at::randn({48});
  const at::Tensor gamma = at::randn({48});
  const at::Tensor out = at::empty_like(x);
  t2v::ops::vae_norm(x, bias, gamma, NormActivation::kSilu, out);
  CHECK(mismatch(out, twin(x + bias, gamma, NormActivation::kSilu),
                 t2v::testing::tolerance_for(at::kFloat)) == "");
  CHECK(max_error(out.to(at::kDouble), twin(x, gamma, NormActivation::kSilu).to(at::kDouble)) >
        0.1);
}
