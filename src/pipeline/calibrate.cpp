#include "pipeline/calibrate.h"

#include <ATen/ops/linalg_vector_norm.h>

#include <cmath>
#include <optional>
#include <vector>

#include "core/check.h"
#include "pipeline/batch.h"
#include "pipeline/step_cache_plan.h"
#include "pipeline/step_cache_table.h"

namespace t2v::pipeline {
namespace {

// Sizes of the residuals of one branch, as shares of those of the step before.
class RatioMeter {
 public:
  // rows [L, C]; undefined: the branch is not run.
  void see(const at::Tensor& rows, bool expert_begins) {
    if (!rows.defined()) {
      ratios_.push_back(1);
      return;
    }
    seen_ = true;
    const at::Tensor size = at::linalg_vector_norm(rows, 2, at::IntArrayRef{1});
    const double ratio =
        expert_begins || !before_.defined() ? 1.0 : (size / before_).mean().item<double>();
    T2V_REQUIRE(std::isfinite(ratio), ErrorKind::kNumeric, "calibrate-cache: the residual of step ",
                ratios_.size(), " has no size; try --dtype fp32");
    ratios_.push_back(ratio);
    before_ = size;
  }
  // By step; empty when the branch was never run.
  [[nodiscard]] std::vector<double> ratios() const {
    return seen_ ? ratios_ : std::vector<double>();
  }

 private:
  bool seen_ = false;
  at::Tensor before_;
  std::vector<double> ratios_;
};

// The host of a video that nobody wants to see.
class NoVideo final : public BatchHost {
 public:
  void on_begin(size_t) override {}
  FrameSink* open_sink(size_t) override { return nullptr; }
  void on_done(size_t, const Report& made) override { report = made; }
  AfterFailure on_failed(size_t, const Error& why) override {
    error = why;
    return AfterFailure::kStop;
  }
  Report report;
  std::optional<Error> error;
};

}  // namespace

Report calibrate(EngineState& engine, const Recipe& recipe, const std::string& table_path,
                 ProgressListener& progress, const CancelToken& cancel) {
  T2V_REQUIRE(recipe.causal.empty() && recipe.t_list.empty(), ErrorKind::kUsage,
              "calibrate-cache: causal and distilled runs leave out no step; try without --causal, "
              "--t-list and --preset");
  std::vector<BatchItem> items(1);
  items[0].recipe = recipe;
  items[0].recipe.step_cache = {};
  const ExpertSteps steps = expert_steps(recipe);
  RatioMeter cond, uncond;
  NoVideo host;
  BatchTask task{items, host, progress, cancel};
  task.on_residuals = [&](int64_t step, const sched::Branches& residuals) {
    const bool begins = step == 0 || step == steps.boundary;
    cond.see(residuals.cond, begins);
    uncond.see(residuals.uncond, begins);
  };
  Batch(engine, task, BadNumbers::kFail).run();
  if (host.error) throw Error(*host.error);
  const Model& model = engine.model();
  write_step_cache_table(table_path, {.model = model.variant.name,
                                      .model_hash = transformer_hash(model),
                                      .solver = solver_name(recipe.solver),
                                      .sigma_table = sigma_table_name(recipe.sigma_table),
                                      .shift = recipe.shift,
                                      .boundary = steps.boundary,
                                      .cond = cond.ratios(),
                                      .uncond = uncond.ratios()});
  return host.report;
}

}  // namespace t2v::pipeline
