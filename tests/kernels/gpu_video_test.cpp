// The kernels on videos and latents of the CUDA back end against the composed twins. Without a
// device this program says SKIPPED; T2V_REQUIRE_GPU=1 makes that a failure.
#include "gpu_check.h"
#include "ops/add_bias_residual.h"
#include "ops/frames.h"
#include "ops/solver_step.h"
#include "ops/vae_norm.h"

namespace {

using namespace t2v::testing;
using t2v::ops::NormActivation;

struct Size {
  int64_t frames, height, width, channels;
  [[nodiscard]] int64_t numel() const { return frames * height * width * channels; }
};

constexpr Size kSizes[] = {{1, 1, 1, 1},   {2, 3, 5, 3},      {1, 4, 4, 16},    {3, 5, 7, 96},
                           {2, 9, 6, 192}, {1, 7, 5, 384},    {2, 3, 3, 1000},  {1, 3, 2, 1024},
                           {1, 5, 6, 97},  {1, 480, 832, 96}, {4, 90, 160, 384}};

bool too_large(const Size& size) {
  return t2v::support::tiny_shapes_only() && size.numel() > 100000;
}

// Places for a result: dense, inside a border, every second pixel of every second row, behind an
// odd offset. What is not the result is NaN.
struct Target {
  at::Tensor all;
  at::Tensor video;  // a view of it
};

std::vector<Target> targets(const Size& s, at::ScalarType type) {
  const auto options = at::TensorOptions().device(at::kCUDA).dtype(type);
  const auto poisoned = [&](at::IntArrayRef sizes) { return at::full(sizes, NAN, options); };
  const at::Tensor dense = poisoned({s.frames, s.height, s.width, s.channels});
  const at::Tensor bordered = poisoned({s.frames, s.height + 2, s.width + 2, s.channels});
  const at::Tensor twice = poisoned({s.frames, 2 * s.height, 2 * s.width, s.channels});
  const at::Tensor odd = poisoned({s.numel() + 1});
  return {{dense, dense},
          {bordered, bordered.narrow(1, 1, s.height).narrow(2, 1, s.width)},
          {twice, twice.slice(1, 1, std::nullopt, 2).slice(2, 0, std::nullopt, 2)},
          {odd, odd.narrow(0, 1, s.numel()).view({s.frames, s.height, s.width, s.channels})}};
}

// Nothing but the result was written.
void check_surroundings(const Target& target) {
  const int64_t finite = target.all.isfinite().sum().item<int64_t>();
  CHECK(finite == target.video.numel());
}

at::Tensor video(const Size& s, at::ScalarType type) {
  return normal({s.frames, s.height, s.width, s.channels}).to(type);
}

}  // namespace

TEST_CASE("vae_norm on the device agrees with its twin") {
  if (!t2v::support::have_gpu()) return;
  for (const Size& s : kSizes) {
    if (too_large(s)) continue;
    for (const at::ScalarType type : kFloatTypes) {
      for (const bool with_bias : {false, true}) {
        CAPTURE(s.frames, s.height, s.width, s.channels, static_cast<int>(type), with_bias);
        const at::Tensor x = video(s, type) * 10;
        const at::Tensor gamma = normal({s.channels}) + 1;
        const at::Tensor bias = with_bias ? normal({s.channels}) : at::Tensor();
        const auto activation = with_bias ? NormActivation::kNone : NormActivation::kSilu;
        const at::Tensor wide = x.to(at::kDouble);
        const at::Tensor sum = with_bias ? wide + bias : wide;
        const at::Tensor y = sum / at::linalg_vector_norm(sum, 2, at::IntArrayRef({3}), true) *
                             std::sqrt(static_cast<double>(s.channels)) * gamma;
        const at::Tensor low = at::empty_like(x);
        twin().vae_norm(x, bias, gamma, activation, low);
        for (const Target& target : targets(s, type)) {
          t2v::ops::vae_norm(x, bias, gamma, activation, target.video);
          check_error(target.video, low, with_bias ? y : at::silu(y));
          check_surroundings(target);
        }
      }
    }
  }
}

TEST_CASE("vae_norm on the device: zeros, NaN, in place") {
  if (!t2v::support::have_gpu()) return;
  at::Tensor x = video({1, 1, 4, 96}, at::kBFloat16);
  x.select(2, 1).zero_();
  x.select(2, 2).select(-1, 7).fill_(NAN);
  const at::Tensor gamma = normal({96}) * 100;
  const at::Tensor out = at::empty_like(x);
  t2v::ops::vae_norm(x, {}, gamma, NormActivation::kSilu, out);
  CHECK(out.select(2, 1).abs().max().item<float>() == 0);
  CHECK(out.select(2, 2).isnan().all().item<bool>());
  CHECK(out.select(2, 0).isfinite().all().item<bool>());
  t2v::ops::vae_norm(x, {}, gamma, NormActivation::kSilu, x);
  CHECK(at::equal(x.select(2, 0), out.select(2, 0)));
  CHECK(at::equal(x.select(2, 3), out.select(2, 3)));
}

TEST_CASE("add_bias_residual on the device agrees with its twin") {
  if (!t2v::support::have_gpu()) return;
  for (const Size& s : kSizes) {
    if (too_large(s)) continue;
    for (const at::ScalarType in : kFloatTypes) {
      for (const at::ScalarType type : kFloatTypes) {
        CAPTURE(s.frames, s.height, s.width, s.channels, static_cast<int>(in),
                static_cast<int>(type));
        const at::Tensor y = video(s, in);
        const at::Tensor bias = normal({s.channels});
        const at::Tensor addend = video(s, type);
        for (const at::Tensor& residual : {at::Tensor(), addend}) {
          const at::Tensor low = at::empty_like(addend);
          twin().add_bias_residual(y, bias, residual, low);
          at::Tensor truth = y.to(at::kDouble) + bias;
          if (residual.defined()) truth = truth + residual.to(at::kDouble);
          for (const Target& target : targets(s, type)) {
            at::Tensor added = residual;
            if (residual.defined()) added = target.video.copy_(residual);  // out itself
            t2v::ops::add_bias_residual(y, bias, added, target.video);
            check_error(target.video, low, truth);
            check_surroundings(target);
          }
        }
      }
    }
  }
}

TEST_CASE("frames_to_rgb8 on the device has the bytes of its twin on the CPU") {
  if (!t2v::support::have_gpu()) return;
  for (const Size& s : {Size{1, 1, 1, 3}, Size{2, 3, 5, 3}, Size{1, 37, 41, 3}, Size{4, 64, 96, 3},
                        Size{4, 480, 832, 3}}) {
    if (too_large(s)) continue;
    CAPTURE(s.frames, s.height, s.width);
    at::Tensor last = video(s, at::kFloat) * 0.7;  // [m, H, W, 3]
    last.select(3, 0).select(2, 0).fill_(NAN);
    last.select(3, 2).select(2, 0).fill_(-HUGE_VAL);
    const at::Tensor frames = last.permute({3, 0, 1, 2});
    const at::Tensor host = frames.cpu();
    const at::Tensor expected = at::empty({s.frames, s.height, s.width, 3}, at::kByte);
    const at::Tensor expected_count = at::zeros({1}, at::kInt);
    twin().frames_to_rgb8(host, expected, expected_count);
    REQUIRE(expected_count.item<int>() == 2 * s.frames * s.height);
    for (const at::Tensor& input : {frames, frames.contiguous()}) {
      const at::Tensor got =
          at::full(expected.sizes(), 77, at::TensorOptions().device(at::kCUDA).dtype(at::kByte));
      const at::Tensor count = at::ones({1}, got.options().dtype(at::kInt));
      t2v::ops::frames_to_rgb8(input, got, count);
      CHECK(at::equal(got.cpu(), expected));
      CHECK(count.item<int>() == 1 + expected_count.item<int>());
    }
    CHECK(at::equal(t2v::ops::frames_to_rgb8(frames), expected));
  }
}

TEST_CASE("solver_step on the device agrees with its twin") {
  if (!t2v::support::have_gpu()) return;
  const t2v::ops::SolverCoefficients all{.sigma = 0.8,
                                         .guidance = 4,
                                         .correct_x = 0.25,
                                         .correct_last = 0.9,
                                         .correct_x0_1 = 0.3,
                                         .correct_x0_2 = -0.2,
                                         .correct_x0 = 0.1,
                                         .predict_x = 0.7,
                                         .predict_x0 = 0.45,
                                         .predict_x0_1 = -0.15};
  const t2v::ops::SolverCoefficients first{.sigma = 1, .predict_x = 0.9, .predict_x0 = 0.1};
  for (const int64_t size : {1, 3, 1024, 1029, 16 * 21 * 90 * 160}) {
    if (too_large({1, 1, 1, size})) continue;
    CAPTURE(size);
    const auto wide = [](const at::Tensor& x) { return x.defined() ? x.to(at::kDouble) : x; };
    const t2v::ops::SolverInputs full{.x = normal({size}),
                                      .cond = normal({size}),
                                      .uncond = normal({size}),
                                      .last = normal({size}),
                                      .x0_1 = normal({size}),
                                      .x0_2 = normal({size})};
    const t2v::ops::SolverInputs few{.x = full.x, .cond = full.cond};
    // One float behind an aligned address.
    const t2v::ops::SolverInputs odd = [&] {
      t2v::ops::SolverInputs in = full;
      in.cond = at::cat({full.cond.narrow(0, 0, 1), full.cond}).narrow(0, 1, size);
      return in;
    }();
    for (const auto* in : {&full, &few, &odd}) {
      const auto& c = in == &few ? first : all;
      const t2v::ops::SolverInputs exact{.x = wide(in->x),
                                         .cond = wide(in->cond),
                                         .uncond = wide(in->uncond),
                                         .last = wide(in->last),
                                         .x0_1 = wide(in->x0_1),
                                         .x0_2 = wide(in->x0_2)};
      const auto truth = twin().solver_step(exact, c);
      const auto low = twin().solver_step(*in, c);
      const auto got = t2v::ops::solver_step(*in, c);
      check_error(got.x0, low.x0, truth.x0);
      check_error(got.corrected, low.corrected, truth.corrected);
      check_error(got.next, low.next, truth.next);
    }
    const auto once = t2v::ops::solver_step(full, all);
    CHECK(at::equal(once.next, t2v::ops::solver_step(full, all).next));
  }
}
