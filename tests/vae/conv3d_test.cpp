// The direct convolution against at::conv3d: shapes, strides, rounding.
#include "ops/conv3d.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include <catch2/catch.hpp>
#include <vector>

#include "support/compare.h"
#include "support/tolerance.h"

namespace {

using t2v::ops::Conv3d;
using t2v::ops::ConvBackend;
using t2v::testing::max_error;
using t2v::testing::mismatch;

struct Case {
  int64_t in, out;
  std::vector<int64_t> kernel;  // t, h, w
  std::vector<int64_t> size;    // of the output: T, H, W
};

const std::vector<Case> kCases = {
    {2, 1, {3, 3, 3}, {1, 1, 1}},    {6, 3, {3, 3, 3}, {2, 3, 1}},
    {16, 16, {3, 3, 3}, {4, 5, 13}}, {10, 17, {3, 3, 3}, {3, 4, 49}},
    {24, 33, {3, 3, 3}, {2, 7, 25}}, {96, 96, {3, 3, 3}, {2, 18, 50}},
    {8, 48, {3, 1, 1}, {2, 3, 5}},   {8, 70, {1, 1, 1}, {3, 2, 97}},
    {12, 6, {1, 2, 2}, {2, 6, 11}},  {34, 40, {3, 2, 3}, {4, 3, 24}},
};

struct Operands {
  at::Tensor weight, bias, in, residual;
};

Operands make(const Case& c, at::ScalarType type) {
  at::manual_seed(static_cast<uint64_t>(c.in * 1000 + c.out));
  const auto& k = c.kernel;
  Operands operands;
  operands.weight = at::randn({c.out, c.in, k[0], k[1], k[2]}) /
                    std::sqrt(static_cast<double>(c.in * k[0] * k[1] * k[2]));
  operands.bias = at::randn({c.out});
  operands.in =
      at::randn({c.size[0] + k[0] - 1, c.size[1] + k[1] - 1, c.size[2] + k[2] - 1, c.in}).to(type);
  operands.residual = at::randn({c.size[0], c.size[1], c.size[2], c.out}).to(type);
  return operands;
}

at::Tensor convolve(const Operands& o, ConvBackend backend, at::ScalarType out_type) {
  const Conv3d conv(o.weight, o.bias, o.in.scalar_type(), at::kCPU, backend);
  const at::Tensor out = at::empty(o.residual.sizes(), out_type);
  conv.run(o.in, out, o.residual.to(out_type));
  return out;
}

at::Tensor truth(const Operands& o) {
  const at::Tensor x = o.in.to(at::kDouble).permute({3, 0, 1, 2}).unsqueeze(0);
  const at::Tensor y = at::conv3d(x, o.weight.to(at::kDouble), o.bias.to(at::kDouble));
  return y.squeeze(0).permute({1, 2, 3, 0}) + o.residual.to(at::kDouble);
}

bool direct_runs(at::ScalarType type) {
  if (t2v::ops::direct::available(type, 2)) return true;
  WARN("SKIPPED: this CPU has no AVX-512 for " << type);
  return false;
}

}  // namespace

TEST_CASE("direct convolution = composed one, fp32", "[conv3d]") {
  if (!direct_runs(at::kFloat)) return;
  for (const Case& c : kCases) {
    const Operands operands = make(c, at::kFloat);
    INFO("channels " << c.in << " to " << c.out << ", width " << c.size[2]);
    const at::Tensor expected = truth(operands).to(at::kFloat);
    CHECK(mismatch(convolve(operands, ConvBackend::kDirect, at::kFloat), expected,
                   t2v::testing::tolerance_for(at::kFloat)) == "");
    CHECK(mismatch(convolve(operands, ConvBackend::kAten, at::kFloat), expected,
                   t2v::testing::tolerance_for(at::kFloat)) == "");
  }
}

TEST_CASE("direct convolution in bf16 errs at most twice as far as the composed one", "[conv3d]") {
  if (!direct_runs(at::kBFloat16)) return;
  for (const Case& c : kCases) {
    const Operands operands = make(c, at::kBFloat16);
    INFO("channels " << c.in << " to " << c.out << ", width " << c.size[2]);
    const at::Tensor expected = truth(operands);
    if (expected.numel() < 16) continue;  // too few for the twin's luck to even out
    for (const auto out_type : {at::kBFloat16, at::kFloat}) {
      const double direct =
          max_error(convolve(operands, ConvBackend::kDirect, out_type).to(at::kDouble), expected);
      const double composed = max_error(
          convolve(operands, ConvBackend::kAten, at::kBFloat16).to(at::kDouble), expected);
      CHECK(direct <= 2 * composed);
    }
  }
}

TEST_CASE("convolution with an odd number of channels takes the composed way in bf16", "[conv3d]") {
  CHECK(t2v::ops::choose_conv_backend(at::kBFloat16, 7, at::kCPU) == ConvBackend::kAten);
  const Operands operands = make({7, 5, {3, 3, 3}, {2, 4, 4}}, at::kBFloat16);
  const Conv3d conv(operands.weight, operands.bias, at::kBFloat16, at::kCPU);
  CHECK(conv.backend() == ConvBackend::kAten);
}

TEST_CASE("convolution writes into strided places and onto its residual", "[conv3d]") {
  for (const auto type : {at::kFloat, at::kBFloat16}) {
    for (const auto backend : {ConvBackend::kDirect, ConvBackend::kAten}) {
      if (backend == ConvBackend::kDirect && !direct_runs(type)) continue;
      const Operands operands = make({6, 20, {3, 3, 3}, {2, 5, 9}}, type);
      const at::Tensor plain = convolve(operands, backend, type);
      const Conv3d conv(operands.weight, operands.bias, type, at::kCPU, backend);
      // Every second frame, row and column of a larger video.
      const at::Tensor large = at::full({4, 10, 18, 20}, 7, type);
      const at::Tensor place = large.slice(0, 1, std::nullopt, 2)
                                   .slice(1, 1, std::nullopt, 2)
                                   .slice(2, 0, std::nullopt, 2);
      place.copy_(operands.residual);
      // Rows of the input with a gap between them.
      const at::Tensor wide =
          at::full({operands.in.size(0), operands.in.size(1), operands.in.size(2) + 3, 6}, 9, type);
      const at::Tensor in = wide.narrow(2, 1, operands.in.size(2));
      in.copy_(operands.in);
      conv.run(in, place, place);
      CHECK(at::equal(place, plain));
      CHECK(large.eq(7).sum().item<int64_t>() >= large.numel() - plain.numel());
    }
  }
}

TEST_CASE("convolution does not depend on the number of threads", "[conv3d]") {
  const int threads = at::get_num_threads();
  const Operands operands = make({32, 48, {3, 3, 3}, {2, 40, 60}}, at::kBFloat16);
  at::set_num_threads(1);
  const at::Tensor one =
      convolve(operands, t2v::ops::choose_conv_backend(at::kBFloat16, 32, at::kCPU), at::kBFloat16);
  at::set_num_threads(3);
  const at::Tensor three =
      convolve(operands, t2v::ops::choose_conv_backend(at::kBFloat16, 32, at::kCPU), at::kBFloat16);
  at::set_num_threads(threads);
  CHECK(at::equal(one, three));
}
