#include "pipeline/quant_choice.h"

#include "core/check.h"
#include "ops/backend.h"
#include "ops/device.h"

namespace t2v::pipeline {
namespace {

// The entrance and exit blocks are the sensitive ones (specs: int8, section 1).
constexpr int64_t kProtectFirst = 2;
constexpr int64_t kProtectLast = 3;
constexpr int kFp8Capability = 89;

void require_fp8(const Compute& compute) {
  if (compute.device.is_cpu()) {
    // The composed form is there to check results with.
    T2V_REQUIRE(&ops::op_table(at::kCPU) == &ops::reference_ops(), ErrorKind::kDevice,
                "fp8 products need a GPU of compute capability 8.9 or higher, and this run is on "
                "the CPU (--quant fp8); try --quant int8");
    return;
  }
  const ops::DeviceFacts& facts = ops::device_facts(compute.device);
  T2V_REQUIRE(facts.capability >= kFp8Capability, ErrorKind::kDevice,
              "fp8 products need a GPU of compute capability 8.9 or higher, and ", facts.name,
              " has ", facts.capability / 10, ".", facts.capability % 10,
              " (--quant fp8); try --quant int8");
}

}  // namespace

bool is_quantised_by_t2v(const Model& model) {
  const auto& metadata = model.folder.transformer.checkpoint->metadata();
  const auto found = metadata.find("t2v.quant");
  return found != metadata.end() && found->second == "int8";
}

Quant choose_quant(const EngineOptions& options, const Model& model) {
  if (options.quant != Quant::kAuto) return options.quant;
  return is_quantised_by_t2v(model) ? Quant::kInt8 : Quant::kNone;
}

models::QuantPlan quant_plan(Quant quant, const EngineOptions& options, const Model& model,
                             const Compute& compute) {
  models::QuantPlan plan;
  if (quant == Quant::kNone || quant == Quant::kAuto) return plan;
  if (quant == Quant::kFp8) require_fp8(compute);
  plan.rotation = options.int8_rotation;
  plan.weights_only = quant == Quant::kInt8Weights;
  plan.rows = quant == Quant::kInt8  ? ops::RowType::kInt8
              : quant == Quant::kFp8 ? ops::RowType::kFp8
                                     : ops::RowType::kPlain;
  // What such files hold in 16 bits was protected when they were made.
  plan.as_stored = quant != Quant::kFp8 && is_quantised_by_t2v(model);
  if (options.quant_preset == QuantPreset::kQuality) {
    plan.protect_first = kProtectFirst;
    plan.protect_last = kProtectLast;
  }
  return plan;
}

std::string describe(const models::QuantPlan& plan) {
  if (!plan.is_on()) return "";
  if (plan.weights_only) return ", int8 weights";
  if (plan.rows == ops::RowType::kFp8) return ", fp8";
  return plan.rotation == 0 ? ", int8" : core::str(", int8 rotated by ", plan.rotation);
}

}  // namespace t2v::pipeline
