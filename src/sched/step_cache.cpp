#include "sched/step_cache.h"

#include <ATen/ops/tensor.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "core/check.h"

namespace t2v::sched {
namespace {

// fp32 on the device, one number on the host.
double mean_size(const at::Tensor& tensor) {
  return static_cast<double>(tensor.abs().mean().item<float>());
}

bool at_step(const std::vector<bool>& list, int64_t step) {
  return list.at(static_cast<size_t>(step));
}

}  // namespace

MagPlan plan_mag(const StepCacheRules& rules) {
  MagPlan plan;
  double size = 1;  // of the residual, since the last computed step
  double error = 0;
  int64_t skips = 0;
  for (size_t i = 0; i < rules.ratios.size(); ++i) {
    bool computed = rules.kept.at(i) || rules.expert_begins.at(i);
    if (!computed) {
      size *= rules.ratios[i];
      ++skips;
      error += std::abs(1 - size);
      computed = !(error < rules.threshold && skips <= rules.max_skips);
    }
    plan.computed.push_back(computed);
    if (!computed) {
      plan.worst_error = std::max(plan.worst_error, error);
      continue;
    }
    size = 1;
    error = 0;
    skips = 0;
  }
  return plan;
}

StepCache::StepCache(StepCacheRules rules) : rules_(std::move(rules)) {
  if (rules_.policy != StepCachePolicy::kMag) return;
  plan_ = plan_mag(rules_);
}

void StepCache::drop() {
  latents_before_ = latents_c_ = output_c_ = at::Tensor();
  deltas_ = residuals_ = {};
  slope_.reset();
  error_ = 0;
}

bool StepCache::begin_step(int64_t step, const at::Tensor& latents) {
  if (rules_.policy == StepCachePolicy::kOff) return false;
  T2V_ASSERT(step == static_cast<int64_t>(mask_.size()));
  if (at_step(rules_.expert_begins, step)) drop();
  bool predicted = false;
  if (rules_.policy == StepCachePolicy::kMag) {
    predicted = !at_step(plan_.computed, step);
    if (predicted) worst_error_ = plan_.worst_error;
  } else {
    predicted = predicts_easily(at_step(rules_.kept, step), latents);
    if (predicted) worst_error_ = std::max(worst_error_, error_);
    latents_before_ = latents;
  }
  mask_ += predicted ? '0' : '1';
  return predicted;
}

bool StepCache::predicts_easily(bool kept, const at::Tensor& latents) {
  if (kept) error_ = 0;
  if (kept || !slope_) return false;
  error_ += *slope_ * mean_size(latents - latents_before_) / output_size_;
  if (error_ < rules_.threshold) return true;  // false for NaN
  error_ = 0;
  return false;
}

bool StepCache::may_compute(int64_t step, int64_t end) const {
  if (rules_.policy != StepCachePolicy::kMag) return step < end;
  for (int64_t i = step; i < end; ++i)
    if (at_step(plan_.computed, i)) return true;
  return false;
}

void StepCache::keep_outputs(const at::Tensor& latents, const Branches& outputs) {
  if (output_c_.defined())
    slope_ = mean_size(outputs.cond - output_c_) / mean_size(latents - latents_c_);
  output_c_ = outputs.cond;
  latents_c_ = latents;
  output_size_ = mean_size(output_c_);
  deltas_.cond = outputs.cond - latents;
  deltas_.uncond = outputs.uncond.defined() ? outputs.uncond - latents : at::Tensor();
}

Branches StepCache::predict_outputs(const at::Tensor& latents) const {
  T2V_ASSERT(deltas_.cond.defined());
  return {latents + deltas_.cond,
          deltas_.uncond.defined() ? latents + deltas_.uncond : at::Tensor()};
}

std::map<std::string, at::Tensor> StepCache::state() const {
  std::map<std::string, at::Tensor> state;
  if (rules_.policy == StepCachePolicy::kOff) return state;
  state["numbers"] = at::tensor({slope_.value_or(std::numeric_limits<double>::quiet_NaN()), error_,
                                 output_size_, worst_error_},
                                at::kDouble);
  state["mask"] = at::tensor(std::vector<int64_t>(mask_.begin(), mask_.end()), at::kLong);
  for (const auto& [name, tensor] : {std::pair{"latents_before", &latents_before_},
                                     {"latents_computed", &latents_c_},
                                     {"output_computed", &output_c_},
                                     {"delta_cond", &deltas_.cond},
                                     {"delta_uncond", &deltas_.uncond},
                                     {"residual_cond", &residuals_.cond},
                                     {"residual_uncond", &residuals_.uncond}})
    if (tensor->defined()) state[name] = *tensor;
  return state;
}

void StepCache::restore(const std::map<std::string, at::Tensor>& state, int64_t steps,
                        at::Device device) {
  if (rules_.policy == StepCachePolicy::kOff || steps == 0) return;
  const auto has = [&](const char* name, int64_t count) {
    const auto found = state.find(name);
    return found != state.end() && found->second.numel() == count;
  };
  T2V_REQUIRE(has("numbers", 4) && has("mask", steps), ErrorKind::kInput,
              "the saved state has not what the step cache needs after ", steps,
              " steps (--resume); try without it, or delete the file");
  drop();
  const auto placed = [&](const char* name) {
    const auto found = state.find(name);
    return found == state.end() ? at::Tensor() : found->second.to(device);
  };
  const at::Tensor numbers = state.at("numbers").to(at::kDouble);
  const auto number = [&](int64_t i) { return numbers[i].item<double>(); };
  if (!std::isnan(number(0))) slope_ = number(0);
  error_ = number(1);
  output_size_ = number(2);
  worst_error_ = number(3);
  mask_.clear();
  const at::Tensor mask = state.at("mask").to(at::kLong);
  for (int64_t i = 0; i < mask.numel(); ++i) mask_ += static_cast<char>(mask[i].item<int64_t>());
  latents_before_ = placed("latents_before");
  latents_c_ = placed("latents_computed");
  output_c_ = placed("output_computed");
  deltas_ = {placed("delta_cond"), placed("delta_uncond")};
  residuals_ = {placed("residual_cond"), placed("residual_uncond")};
}

}  // namespace t2v::sched
