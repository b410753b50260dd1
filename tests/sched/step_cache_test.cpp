#include "sched/step_cache.h"

#include <ATen/ATen.h>

#include <catch2/catch.hpp>
#include <cmath>

#include "t2v/error.h"

using namespace t2v;
using sched::Branches;
using sched::StepCache;
using sched::StepCacheRules;

namespace {

// Nothing is kept but the first step and, if `last`, the last one.
StepCacheRules rules_of(StepCachePolicy policy, int64_t steps, double threshold, bool last = true) {
  StepCacheRules rules{.policy = policy, .threshold = threshold};
  rules.kept.assign(static_cast<size_t>(steps), false);
  rules.expert_begins = rules.kept;
  rules.expert_begins[0] = true;
  rules.kept.back() = last;
  return rules;
}

std::string text_of(const std::vector<bool>& computed) {
  std::string text;
  for (const bool one : computed) text += one ? '1' : '0';
  return text;
}

// A model v = a*x + b under Euler steps of different lengths, beside the same in scalars.
struct ScalarRun {
  std::string mask;
  double slope = 0;
};
ScalarRun simulate(double a, double b, double tau, const std::vector<double>& lengths) {
  ScalarRun run;
  double x = 1, before = 0, x_c = 0, v_c = 0, delta = 0, error = 0;
  bool has_c = false, has_slope = false;
  for (size_t i = 0; i < lengths.size(); ++i) {
    bool skip = false;
    if (i + 1 == lengths.size()) {
      error = 0;
    } else if (has_slope) {
      error += run.slope * std::abs(x - before) / std::abs(v_c);
      skip = error < tau;
      if (!skip) error = 0;
    }
    before = x;
    const double v = skip ? x + delta : a * x + b;
    if (!skip) {
      if (has_c) run.slope = std::abs(v - v_c) / std::abs(x - x_c);
      has_slope = has_c;
      has_c = true;
      v_c = v, x_c = x, delta = v - x;
    }
    run.mask += skip ? '0' : '1';
    x += lengths[i] * v;
  }
  return run;
}

}  // namespace

TEST_CASE("easy finds the slope of a linear model and skips what a scalar simulation skips") {
  const std::vector<double> lengths = {-.01, -.02, -.01, -.03, -.002, -.01, -.05, -.004,
                                       -.01, -.02, -.01, -.01, -.03,  -.01, -.02, -.01};
  for (const double tau : {0.0, 0.005, 0.02, 0.1, 5.0}) {
    for (const double a : {0.7, -1.3}) {
      CAPTURE(tau, a);
      const auto steps = static_cast<int64_t>(lengths.size());
      StepCache cache(rules_of(StepCachePolicy::kEasy, steps, tau));
      at::Tensor x = at::ones({2, 3});
      int64_t computed = 0;
      for (int64_t i = 0; i < steps; ++i) {
        at::Tensor v;
        if (cache.begin_step(i, x)) {
          v = cache.predict_outputs(x).cond;
        } else {
          v = a * x + 0.5;
          cache.keep_outputs(x, {v, {}});
          if (++computed == 2)
            CHECK(cache.state().at("numbers")[0].item<double>() ==
                  Approx(std::abs(a)).epsilon(1e-5));
        }
        x = x + lengths[static_cast<size_t>(i)] * v;
      }
      CHECK(cache.mask() == simulate(a, 0.5, tau, lengths).mask);
      if (tau == 0) CHECK(cache.mask() == std::string(lengths.size(), '1'));
      if (tau == 5) CHECK(cache.mask() == "11" + std::string(lengths.size() - 3, '0') + "1");
    }
  }
}

TEST_CASE("each branch of a predicted step uses its own change") {
  StepCache cache(rules_of(StepCachePolicy::kEasy, 4, 100));
  at::manual_seed(3);
  const at::Tensor x = at::randn({4}), cond = at::randn({4}), uncond = at::randn({4});
  REQUIRE_FALSE(cache.begin_step(0, x));
  cache.keep_outputs(x, {cond, uncond});
  REQUIRE_FALSE(cache.begin_step(1, x + 1));  // the slope is not known yet
  cache.keep_outputs(x + 1, {cond * 2, uncond * 3});
  REQUIRE(cache.begin_step(2, x + 1.5));
  const Branches predicted = cache.predict_outputs(x + 1.5);
  CHECK(at::allclose(predicted.cond, cond * 2 + 0.5));
  CHECK(at::allclose(predicted.uncond, uncond * 3 + 0.5));
  CHECK_FALSE(cache.begin_step(3, x + 2));  // the last one
}

TEST_CASE("another expert begins with nothing of the one before") {
  for (const StepCachePolicy policy : {StepCachePolicy::kEasy, StepCachePolicy::kMag}) {
    StepCacheRules rules = rules_of(policy, 8, 100);
    rules.expert_begins[4] = true;
    rules.ratios.assign(8, 0.99);
    rules.max_skips = 8;
    StepCache cache(rules);
    at::Tensor x = at::ones({2});
    const at::Tensor old_residual = at::ones({3});
    for (int64_t i = 0; i < 4; ++i) {
      if (!cache.begin_step(i, x)) {
        cache.keep_outputs(x, {x * 2, {}});
        cache.keep_residuals({old_residual, {}});
      }
      x = x * 0.9;
    }
    CHECK(cache.mask() == (policy == StepCachePolicy::kEasy ? "1100" : "1000"));
    CHECK_FALSE(cache.begin_step(4, x));
    CHECK_FALSE(cache.residuals().cond.defined());
    const auto state = cache.state();
    for (const char* name : {"latents_computed", "output_computed", "delta_cond", "residual_cond"})
      CHECK(state.count(name) == 0);
    cache.keep_outputs(x, {x * 5, {}});
    cache.keep_residuals({old_residual * 2, {}});
    const bool predicted = cache.begin_step(5, x * 0.9);
    CHECK(predicted == (policy == StepCachePolicy::kMag));  // easy needs two for the slope
    if (predicted) CHECK(cache.residuals().cond[0].item<float>() == 2);
  }
}

TEST_CASE("a restored cache goes on bit for bit") {
  for (const StepCachePolicy policy : {StepCachePolicy::kEasy, StepCachePolicy::kMag}) {
    StepCacheRules rules = rules_of(policy, 12, 0.1);
    rules.ratios.assign(12, 0.98);
    rules.max_skips = 3;
    const auto step = [&](StepCache& cache, int64_t i, const at::Tensor& x) {
      if (cache.begin_step(i, x))
        return policy == StepCachePolicy::kEasy ? cache.predict_outputs(x).cond
                                                : x + cache.residuals().cond;
      const at::Tensor v = at::sin(x * 1.7) + 0.3;
      cache.keep_outputs(x, {v, v * 2});
      cache.keep_residuals({v - x, v});
      return v;
    };
    for (const int64_t stop : {1, 2, 4, 7, 11}) {
      StepCache whole(rules), first(rules), second(rules);
      at::Tensor a = at::linspace(0.1, 1, 5), b = a;
      for (int64_t i = 0; i < 12; ++i) a = a - 0.02 * step(whole, i, a);
      for (int64_t i = 0; i < stop; ++i) b = b - 0.02 * step(first, i, b);
      CHECK_THROWS_AS(second.restore({}, stop, at::kCPU), Error);
      CHECK_THROWS_AS(second.restore(first.state(), stop + 1, at::kCPU), Error);
      second.restore(first.state(), stop, at::kCPU);
      for (int64_t i = stop; i < 12; ++i) b = b - 0.02 * step(second, i, b);
      CHECK(at::equal(a, b));
      CHECK(second.mask() == whole.mask());
      CHECK(second.worst_error() == whole.worst_error());
      CHECK(whole.mask().find('0') != std::string::npos);
    }
  }
}

TEST_CASE("mag walks a table as in the text") {
  StepCacheRules rules = rules_of(StepCachePolicy::kMag, 6, 0.12);
  rules.ratios = {1, .99, .98, .97, .5, .99};
  rules.max_skips = 4;
  const sched::MagPlan plan = sched::plan_mag(rules);
  CHECK(text_of(plan.computed) == "100011");
  // .99; .99*.98 = .9702; .9702*.97 = .941094: their distances from 1 add up
  CHECK(plan.worst_error == Approx(0.01 + 0.0298 + 0.058906).epsilon(1e-9));
  rules.threshold = 0;
  CHECK(text_of(sched::plan_mag(rules).computed) == "111111");
  rules.threshold = 100;
  rules.max_skips = 2;
  CHECK(text_of(sched::plan_mag(rules).computed) == "100101");
}

TEST_CASE("mag knows when an expert's weights have served") {
  StepCacheRules rules = rules_of(StepCachePolicy::kMag, 6, 0.12);
  rules.ratios = {1, .99, .98, .97, .5, .99};
  rules.max_skips = 4;
  const StepCache mag(rules);
  CHECK_FALSE(mag.may_compute(1, 4));
  CHECK(mag.may_compute(1, 5));
  CHECK_FALSE(mag.may_compute(4, 4));
  const StepCache easy(rules_of(StepCachePolicy::kEasy, 6, 0.1));
  CHECK(easy.may_compute(1, 4));
  CHECK_FALSE(easy.may_compute(4, 4));
  const StepCache off({});
  CHECK(off.may_compute(1, 4));
  CHECK_FALSE(off.may_compute(4, 4));
}
