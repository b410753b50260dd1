#include "pipeline/encode_plan.h"

#include "core/check.h"
#include "models/vae/encoder.h"
#include "pipeline/compute.h"

namespace t2v::pipeline {
namespace {

// What packed weights take beside plain ones on the CPU: as the decoder's (residency.cpp).
constexpr double kPackedWeights = 1.8;
// cuDNN's workspace: it takes what it likes of what is left, and makes do with less.
constexpr int64_t kConvolutionWorkspace = int64_t{256} << 20;

}  // namespace

int64_t encoder_bytes(const PlanInput& in) {
  if (!in.encode) return 0;
  const int64_t work = models::vae::encode_work_bytes(in.vae, *in.encode);
  const auto weights =
      static_cast<double>(models::vae::encoder_weight_bytes(in.vae, in.encode->dtype));
  return work + (in.on_device ? static_cast<int64_t>(weights) + kConvolutionWorkspace
                              : static_cast<int64_t>(weights * kPackedWeights));
}

void plan_encode(const Model& model, const Compute& compute, PlanInput& in) {
  in.encode = models::vae::EncodeJob{
      .height = in.height,
      .width = in.width,
      .dtype = models::vae::encoder_dtype(model.vae, compute.dtype, compute.device.type()),
      .device = compute.device.type()};
}

void require_encode_fit(const Model& model, const Compute& compute, const Budgets& budgets,
                        int64_t width, int64_t height) {
  PlanInput in;
  in.on_device = !compute.device.is_cpu();
  in.vae = model.vae;
  in.width = width;
  in.height = height;
  plan_encode(model, compute, in);
  const int64_t base = in.on_device ? kDeviceContextBytes : current_host_bytes();
  const int64_t needed = base + encoder_bytes(in);
  const int64_t allowed = in.on_device ? budgets.vram : budgets.ram;
  T2V_REQUIRE(needed <= allowed, ErrorKind::kOutOfMemory, "not enough ",
              in.on_device ? "device" : "host", " memory: encoding ", width, "x", height, " needs ",
              gigabytes(needed), ", allowed are ", gigabytes(allowed), " (", describe(compute),
              "); try ", in.on_device ? "--vram-budget " : "--ram-budget ", (needed >> 20) + 1,
              "MiB or a smaller picture");
}

}  // namespace t2v::pipeline
