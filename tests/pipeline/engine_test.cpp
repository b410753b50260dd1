// The whole engine on the shipped model: same bytes for the same seed, errors leave it usable,
// nothing computed is lost.
#include "t2v/engine.h"

#include <ATen/ATen.h>

#include <catch2/catch.hpp>
#include <filesystem>
#include <functional>

#include "pipeline/memory_sink.h"
#include "support/compare.h"
#include "weights/checkpoint.h"

using namespace t2v;
using test::MemorySink;
using test::SilentListener;
namespace fs = std::filesystem;

namespace {

Engine& engine() {
  static const std::unique_ptr<Engine> opened = open_engine(
      {.model_path = T2V_MODELS "/shapes", .device = Device::kCpu, .dtype = Dtype::kFp32});
  return *opened;
}

Recipe small_recipe(uint64_t seed) {
  Request request;
  request.prompt = "a red circle moves right on a black background";
  request.steps = 3;
  request.frames = 9;
  request.seed = seed;
  return engine().resolve(request);
}

Report generate(const Recipe& recipe, MemorySink& sink, GenerateOutputs outputs = {}) {
  SilentListener listener;
  const CancelToken cancel;
  outputs.sink = &sink;
  return engine().generate(recipe, outputs, listener, cancel);
}

std::string temporary(const std::string& name) {
  return (fs::path(T2V_BINARY_DIR) / "tests" / name).string();
}

}  // namespace

TEST_CASE("same seed, same bytes; another seed, other bytes") {
  MemorySink a;
  MemorySink b;
  MemorySink c;
  const Report report = generate(small_recipe(5), a);
  generate(small_recipe(5), b);
  generate(small_recipe(6), c);
  CHECK(a.finished);
  CHECK(a.frames == 9);
  CHECK(a.writes == 3);  // one chunk per latent frame: frames leave while later ones are decoded
  CHECK(a.bytes == b.bytes);
  CHECK(a.bytes != c.bytes);
  CHECK(report.steps.size() == 3);
  CHECK(report.first_step_ms > 0);
  CHECK(report.host_peak_bytes > 0);
  CHECK(a.format.recipe_json.find("\"seed\":5") != std::string::npos);
}

TEST_CASE("initial noise is that of a torch CPU generator") {
  MemorySink sink;
  const std::string path = temporary("engine_dump.safetensors");
  Recipe recipe = small_recipe(1234);
  generate(recipe, sink, {.dump_path = path});
  const at::Tensor noise = weights::Checkpoint::open(path).load("init_latents").flatten();
  CHECK(noise[0].item<float>() == Approx(-0.11171857F));
  CHECK(noise[1].item<float>() == Approx(-0.49659011F));
  CHECK(noise[2].item<float>() == Approx(0.16307370F));
}

TEST_CASE("saved latents decode to the same frames; they may start a run") {
  MemorySink whole;
  MemorySink again;
  const std::string path = temporary("engine_latents.safetensors");
  generate(small_recipe(7), whole, {.save_latents_path = path});
  SilentListener listener;
  const CancelToken cancel;
  engine().decode(path, 0, again, listener, cancel);
  CHECK(again.bytes == whole.bytes);
  CHECK(again.format.fps == whole.format.fps);
  Recipe from_file = small_recipe(7);
  from_file.latents_path = path;
  MemorySink third;
  generate(from_file, third);
  CHECK(third.frames == 9);
}

namespace {

// Runs out of memory as LibTorch's allocator does, at the first event of one stage.
class FullListener final : public ProgressListener {
 public:
  explicit FullListener(Stage stage) : stage_(stage) {}
  void on_progress(const ProgressEvent& event) override {
    if (event.stage == stage_)
      throw c10::OutOfMemoryError({"f", "f", 1}, "CUDA out of memory. Tried to allocate 2 GiB. x");
  }

 private:
  Stage stage_;
};

}  // namespace

TEST_CASE("memory that runs out ends one run, keeps what was computed, and the next run works") {
  MemorySink expected;
  generate(small_recipe(9), expected);
  const std::string path = temporary("engine_full.safetensors");
  for (const Stage stage : {Stage::kTextEncode, Stage::kDenoise, Stage::kVaeDecode}) {
    fs::remove(path);
    FullListener full(stage);
    MemorySink sink;
    try {
      engine().generate(small_recipe(9), {.sink = &sink, .rescue_latents_path = path}, full, {});
      FAIL("no error");
    } catch (const Error& error) {
      CHECK(error.kind() == ErrorKind::kOutOfMemory);
    }
    CHECK_FALSE(sink.finished);
    CHECK(fs::exists(path) == (stage == Stage::kVaeDecode));
    MemorySink next;
    generate(small_recipe(9), next);
    CHECK(next.bytes == expected.bytes);
  }
}

TEST_CASE("a sink that fails costs nothing but the sink") {
  MemorySink broken;
  broken.fail = true;
  const std::string path = temporary("engine_rescue.safetensors");
  fs::remove(path);
  try {
    generate(small_recipe(8), broken, {.rescue_latents_path = path});
    FAIL("no error");
  } catch (const Error& error) {
    CHECK(error.kind() == ErrorKind::kOutput);
    CHECK_THAT(error.what(), Catch::Matchers::Contains(path));
  }
  CHECK(broken.aborted);
  MemorySink direct;
  MemorySink rescued;
  generate(small_recipe(8), direct);  // the engine is still usable
  SilentListener listener;
  const CancelToken cancel;
  engine().decode(path, 0, rescued, listener, cancel);
  CHECK(rescued.bytes == direct.bytes);
}

TEST_CASE("a stop is noticed in every stage, and the engine stays usable") {
  for (const Stage stage : {Stage::kTextEncode, Stage::kDenoise, Stage::kVaeDecode}) {
    MemorySink sink;
    SilentListener listener;
    CancelToken cancel;
    listener.on_event = [&](const ProgressEvent& event) {
      if (event.stage == stage) cancel.cancel();
    };
    try {
      engine().generate(small_recipe(9), {.sink = &sink}, listener, cancel);
      FAIL("no error");
    } catch (const Error& error) {
      CHECK(error.kind() == ErrorKind::kCancelled);
    }
    CHECK_FALSE(sink.finished);
  }
  MemorySink sink;
  generate(small_recipe(9), sink);
  CHECK(sink.finished);
}

TEST_CASE("the reference back end makes the same video within rounding") {
  MemorySink fused;
  MemorySink twin;
  generate(small_recipe(10), fused);
  const auto reference = open_engine({.model_path = T2V_MODELS "/shapes",
                                      .device = Device::kCpu,
                                      .dtype = Dtype::kFp32,
                                      .backend = Backend::kReference});
  SilentListener listener;
  const CancelToken cancel;
  reference->generate(small_recipe(10), {.sink = &twin}, listener, cancel);
  open_engine(
      {.model_path = T2V_MODELS "/shapes", .device = Device::kCpu});  // back to the fused ops
  REQUIRE(fused.bytes.size() == twin.bytes.size());
  int worst = 0;
  for (size_t i = 0; i < fused.bytes.size(); ++i)
    worst = std::max(worst, std::abs(fused.bytes[i] - twin.bytes[i]));
  CHECK(worst <= 2);
}

TEST_CASE("bad latents are input errors that name the file") {
  Request request;
  request.prompt = "x";
  for (const char* path :
       {"/nonexistent/x.safetensors", T2V_MODELS "/shapes/t2v.json", T2V_MODELS}) {
    request.latents_path = path;
    try {
      static_cast<void>(engine().resolve(request));
      FAIL("accepted");
    } catch (const Error& error) {
      CHECK(error.kind() == ErrorKind::kInput);
      CHECK_THAT(error.what(), Catch::Matchers::Contains(path));
    }
  }
}
