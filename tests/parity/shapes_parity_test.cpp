// The shipped model from prompt to frames, against tensors that the diffusers library made in fp32
// (tests/fixtures/shapes-ref): ids, embeddings, schedule, every recorded velocity and latent,
// frames.
#include <ATen/ATen.h>

#include <catch2/catch.hpp>

#include "support/compare.h"
#include "t2v/engine.h"
#include "weights/checkpoint.h"

using namespace t2v;
using testing::mismatch;
using testing::Tolerance;

namespace {

constexpr const char* kReference = T2V_FIXTURES "/shapes-ref/reference.safetensors";

class SilentListener final : public ProgressListener {
 public:
  void on_progress(const ProgressEvent&) override {}
};

std::string dump_of(Dtype dtype, Backend backend, double guidance) {
  const auto engine = open_engine({.model_path = T2V_MODELS "/shapes",
                                   .device = Device::kCpu,
                                   .dtype = dtype,
                                   .backend = backend});
  Request request;
  request.prompt = "a small red circle moves right on a black background";
  request.negative_prompt = "";
  request.steps = 4;
  request.sigma_table = SigmaTable::kDiffusers;
  request.shift = 3.0;
  request.guidance_scale = guidance;
  request.boundary = 0.875;
  request.seed = 42;
  const std::string path = T2V_BINARY_DIR "/tests/shapes_parity.safetensors";
  SilentListener listener;
  const CancelToken cancel;
  engine->generate(engine->resolve(request), {.dump_path = path}, listener, cancel);
  return path;
}

bool is_exact(const std::string& name) {
  for (const char* part : {"_ids", "_mask", "timestep"})
    if (name.find(part) != std::string::npos) return true;
  return false;
}

// Names of tensors that are off.
std::vector<std::string> differences(const std::string& dump_path, Tolerance tolerance,
                                     Tolerance pixels) {
  const auto got = weights::Checkpoint::open(dump_path);
  const auto want = weights::Checkpoint::open(kReference);
  std::vector<std::string> off;
  for (const auto& entry : want.tensors()) {
    const std::string name = entry.name;
    const bool frames = name == "frames_u8_every4";
    at::Tensor mine = got.load(frames ? "frames_u8" : name);
    at::Tensor theirs = want.load(name);
    if (frames) mine = at::index_select(mine, 0, at::arange(0, mine.size(0), 4));
    const Tolerance bound = is_exact(name)     ? Tolerance{}
                            : frames           ? pixels
                            : name == "sigmas" ? Tolerance{1e-6, 0}
                                               : tolerance;
    if (mine.numel() == theirs.numel()) mine = mine.view(theirs.sizes());
    const std::string text = mismatch(mine, theirs, bound);
    if (!text.empty()) off.push_back(name + ": " + text);
  }
  return off;
}

}  // namespace

TEST_CASE("fp32 equals the reference, tensor by tensor, with both back ends") {
  for (const Backend backend : {Backend::kReference, Backend::kFused})
    CHECK(differences(dump_of(Dtype::kFp32, backend, 3.0), {1e-4, 1e-4}, {1, 0}) ==
          std::vector<std::string>{});
}

TEST_CASE("bf16 stays near the reference") {
  CHECK(differences(dump_of(Dtype::kBf16, Backend::kFused, 3.0), {0.15, 0.1}, {60, 0}) ==
        std::vector<std::string>{});
}

TEST_CASE("another guidance scale shows") {
  const auto off = differences(dump_of(Dtype::kFp32, Backend::kFused, 3.1), {1e-4, 1e-4}, {1, 0});
  CHECK(off.size() >= 4);
}
