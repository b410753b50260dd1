// Predicted memory of decoding against what LibTorch's allocator hands out.
#include "models/vae/decode_bytes.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <c10/core/Allocator.h>
#include <c10/util/ThreadLocalDebugInfo.h>

#include <catch2/catch.hpp>

#include "models/vae/tile_canvas.h"
#include "ops/frames.h"
#include "vae/vae_fixture.h"

namespace {

using namespace t2v::models::vae;
using Fixture = t2v::testing::VaeFixture;

// Counts the bytes of tensors on the CPU while it is in force on this thread.
class Meter final : public c10::MemoryReportingInfoBase {
 public:
  void reportMemoryUsage(void* /*memory*/, int64_t size, size_t /*allocated*/, size_t /*reserved*/,
                         c10::Device /*device*/) override {
    now_ += size;
    peak_ = std::max(peak_, now_);
  }
  [[nodiscard]] bool memoryProfilingEnabled() const override { return true; }
  [[nodiscard]] int64_t peak() const { return peak_; }

 private:
  int64_t now_ = 0, peak_ = 0;
};

int64_t measured_peak(const Decoder& decoder, const at::Tensor& latents) {
  const auto meter = std::make_shared<Meter>();
  const c10::DebugInfoGuard guard(c10::DebugInfoKind::PROFILER_STATE, meter);
  auto stream = decoder.start(latents.size(2), latents.size(3));
  for (int64_t t = 0; t < latents.size(1); ++t)
    t2v::ops::frames_to_rgb8(stream.next(latents.narrow(1, t, 1)));
  return meter->peak();
}

}  // namespace

TEST_CASE("decoding takes the memory that was predicted, within 5 %", "[vae]") {
  const std::string folder = std::string(T2V_SOURCE_DIR) + "/models/shapes/vae";
  const VaeSpec spec = read_vae_spec(folder + "/config.json");
  const auto map = t2v::weights::WeightMap::open(folder, t2v::weights::ModelPart::kVae, "vae");
  const int threads = at::get_num_threads();
  at::set_num_threads(1);
  struct Case {
    int64_t height, width;
    at::ScalarType dtype;
  };
  for (const Case& c :
       {Case{12, 20, at::kFloat}, Case{16, 16, at::kFloat}, Case{20, 28, at::kFloat},
        Case{20, 12, at::kBFloat16}, Case{24, 24, at::kBFloat16}, Case{18, 34, at::kBFloat16},
        Case{28, 20, at::kBFloat16}}) {
    const Decoder decoder(spec, map, c.dtype, at::kCPU);
    const DecodeJob job{.num_latents = 3, .height = c.height, .width = c.width, .dtype = c.dtype};
    const auto predicted = static_cast<double>(decode_work_bytes(spec, job, {}));
    const auto measured =
        static_cast<double>(measured_peak(decoder, at::randn({spec.z_dim, 3, c.height, c.width})));
    INFO(c.height << " x " << c.width << " " << c.dtype << ": predicted " << predicted
                  << ", measured " << measured);
    CHECK(predicted / measured > 0.95);
    CHECK(predicted / measured < 1.05);
  }
  at::set_num_threads(threads);
}

TEST_CASE("decoding in tiles takes the memory that was predicted, within 5 %", "[vae]") {
  const std::string folder = std::string(T2V_SOURCE_DIR) + "/models/shapes/vae";
  const VaeSpec spec = read_vae_spec(folder + "/config.json");
  const auto map = t2v::weights::WeightMap::open(folder, t2v::weights::ModelPart::kVae, "vae");
  const int threads = at::get_num_threads();
  at::set_num_threads(1);
  const Decoder decoder(spec, map, at::kBFloat16, at::kCPU);
  for (const Tiling& tiling : {Tiling{.rows = 2, .columns = 1}, Tiling{.rows = 2, .columns = 2}}) {
    const DecodeJob job{.num_latents = 3, .height = 40, .width = 44, .dtype = at::kBFloat16};
    const at::Tensor latents = at::randn({spec.z_dim, 3, 40, 44});
    const auto meter = std::make_shared<Meter>();
    {
      const c10::DebugInfoGuard guard(c10::DebugInfoKind::PROFILER_STATE, meter);
      decode_tiles(decoder, latents, tiling, [](auto&&...) {});
    }
    const auto predicted = static_cast<double>(decode_work_bytes(spec, job, tiling) +
                                               decode_canvas_bytes(spec, job, tiling));
    INFO(tiling.rows << " x " << tiling.columns << ": predicted " << predicted << ", measured "
                     << meter->peak());
    CHECK(predicted / static_cast<double>(meter->peak()) > 0.95);
    CHECK(predicted / static_cast<double>(meter->peak()) < 1.05);
  }
  at::set_num_threads(threads);
}

TEST_CASE("weights of the form for CUDA are predicted", "[vae]") {
  const Fixture fixture("narrow");
  const auto meter = std::make_shared<Meter>();
  int64_t held = 0;
  {
    const c10::DebugInfoGuard guard(c10::DebugInfoKind::PROFILER_STATE, meter);
    // Three copies of every 3x3x3 weight, and the folded phases: far more than is stored.
    const Decoder decoder = fixture.decoder(at::kFloat, NetworkForm::kFrames);
    held = meter->peak();
  }
  int64_t stored = 0;
  for (const auto& tensor : decoder_tensors(fixture.spec).tensors) {
    int64_t count = 4;
    for (const int64_t extent : tensor.shape) count *= extent;
    stored += count;
  }
  const int64_t predicted = frame_weight_bytes(fixture.spec, at::kFloat);
  CHECK(predicted > 2 * stored);
  CHECK(predicted <= held);
}
