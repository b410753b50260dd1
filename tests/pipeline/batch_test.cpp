// Many videos from one engine: each has the bytes of a run of its own, whatever happens to the
// others; and one that was interrupted goes on as if nothing had happened.
#include <ATen/ATen.h>

#include <atomic>
#include <catch2/catch.hpp>
#include <filesystem>
#include <fstream>
#include <map>
#include <mutex>

#include "batch_host.h"
#include "memory_sink.h"
#include "support/compare.h"
#include "t2v/engine.h"
#include "weights/checkpoint.h"
#include "weights/safetensors_writer.h"
#include "weights/scratch.h"

using namespace t2v;
using Host = test::KeepingHost;
using test::Interrupt;
using test::MemorySink;
using test::run;
using test::Scratch;
using test::SilentListener;
namespace fs = std::filesystem;

namespace {

const std::string kModel = T2V_MODELS "/shapes";
constexpr const char* kA = "a red circle moves right on a black background";
constexpr const char* kB = "a blue square moves up on a white background";

std::unique_ptr<Engine> open(EngineOptions options = {}) {
  if (options.model_path.empty()) options.model_path = kModel;
  options.device = Device::kCpu;
  if (options.dtype == Dtype::kAuto) options.dtype = Dtype::kFp32;
  return open_engine(options);
}

BatchItem item(const Engine& engine, const std::string& prompt, uint64_t seed,
               const std::function<void(Request&)>& change = {}) {
  Request request;
  request.prompt = prompt;
  request.steps = 4;
  request.frames = 5;
  request.seed = seed;
  if (change) change(request);
  return {.recipe = engine.resolve(request), .outputs = {}};
}

std::vector<uint8_t> alone(Engine& engine, const BatchItem& of) {
  MemorySink sink;
  SilentListener listener;
  GenerateOutputs outputs = of.outputs;
  outputs.sink = &sink;
  outputs.preview = nullptr;
  engine.generate(of.recipe, outputs, listener, {});
  return std::move(sink.bytes);
}

struct Pictures final : PreviewListener {
  void on_preview(const PreviewPicture& picture) override {
    steps.push_back(picture.step);
    width = picture.width;
    height = picture.height;
    pixels.assign(picture.rgb, picture.rgb + picture.width * picture.height * 3);
    if (fail_once) {
      fail_once = false;
      throw Error(ErrorKind::kNumeric, "made up: NaN");
    }
  }
  std::vector<int64_t> steps;
  int64_t width = 0, height = 0;
  std::vector<uint8_t> pixels;
  bool fail_once = false;
};

}  // namespace

TEST_CASE("videos of a batch have the bytes of runs of their own") {
  for (const Offload offload : {Offload::kAuto, Offload::kBlock}) {
    const Dtype dtype = offload == Offload::kAuto ? Dtype::kBf16 : Dtype::kFp32;
    const auto engine = open({.dtype = dtype, .offload = offload});
    const auto unguided = [](Request& r) { r.guidance_scale = 1.0; };
    const std::vector<BatchItem> items = {
        item(*engine, kA, 1),
        item(*engine, kB, 2),
        item(*engine, kA, 3, [](Request& r) { r.guidance_scale = 2.0; }),
        item(*engine, kB, 4, [](Request& r) { r.width = 96; }),
        item(*engine, kA, 5, unguided),
        item(*engine, kB, 6, unguided),
        item(*engine, kB, 7, [](Request& r) { r.solver = Solver::kDpmpp; })};
    Host host;
    run(*engine, items, host);
    REQUIRE(host.errors.empty());
    REQUIRE(host.reports.size() == items.size());
    CHECK(host.begun == std::vector<size_t>{0, 1, 2, 3, 4, 5, 6});
    CHECK(host.ended == std::vector<size_t>{0, 1, 2, 3, 4, 5, 6});
    CHECK(host.reports.at(1).together > 1);
    CHECK(host.reports.at(3).together == 1);
    const auto fresh = open({.dtype = dtype, .offload = offload});
    for (size_t i = 0; i < items.size(); ++i) {
      INFO("video " << i);
      CHECK(host.bytes(i) == alone(*fresh, items[i]));
    }
  }
}

TEST_CASE("an interrupted video goes on bit for bit") {
  const Scratch scratch;
  for (const Solver solver : {Solver::kUniPC, Solver::kDpmpp, Solver::kEuler}) {
    for (const int64_t step : {1, 3}) {
      const auto engine = open();
      BatchItem one = item(*engine, kA, 9, [&](Request& r) { r.solver = solver; });
      one.outputs.checkpoint_path = scratch / "state";
      const auto whole = alone(*engine, one);
      CHECK_FALSE(fs::exists(scratch / "state"));

      Host host;
      Interrupt interrupt(step);
      CHECK_THROWS_AS(engine->generate_all({one}, host, interrupt, interrupt.token), Error);
      REQUIRE(host.errors.size() == 1);
      CHECK(host.errors[0].second.kind() == ErrorKind::kCancelled);
      REQUIRE(fs::exists(scratch / "state"));

      const auto later = open();
      one.outputs.resume = true;
      Host again;
      run(*later, {one}, again);
      REQUIRE(again.reports.size() == 1);
      CHECK(again.reports.at(0).resumed_steps == step);
      CHECK(again.reports.at(0).steps.size() == static_cast<size_t>(4 - step));
      CHECK(again.bytes(0) == whole);
      CHECK_FALSE(fs::exists(scratch / "state"));
    }
  }
}

TEST_CASE("the state of another recipe is not gone on from; a broken one is refused") {
  const Scratch scratch;
  const auto engine = open();
  BatchItem one = item(*engine, kA, 9);
  one.outputs.checkpoint_path = scratch / "state";
  Host host;
  Interrupt interrupt(2);
  CHECK_THROWS_AS(engine->generate_all({one}, host, interrupt, interrupt.token), Error);
  BatchItem other = item(*engine, kA, 10);
  other.outputs.checkpoint_path = scratch / "state";
  other.outputs.resume = true;
  Host second;
  run(*engine, {other}, second);
  CHECK(second.reports.at(0).resumed_steps == 0);
  REQUIRE(second.reports.at(0).warnings.size() == 1);
  CHECK_THAT(second.reports.at(0).warnings[0], Catch::Contains("begins anew"));
  CHECK(second.bytes(0) == alone(*engine, item(*engine, kA, 10)));

  std::ofstream(scratch / "state") << "not a state";
  Host third;
  run(*engine, {other}, third);
  REQUIRE(third.errors.size() == 1);
  CHECK(third.errors[0].second.kind() == ErrorKind::kInput);
}

TEST_CASE("the state is written while a video is made, when that is asked for") {
  const Scratch scratch;
  const auto engine = open();
  BatchItem one = item(*engine, kA, 9);
  one.outputs.checkpoint_path = scratch / "state";
  one.outputs.checkpoint_every_s = 1e-9;
  int64_t seen = 0;
  SilentListener listener;
  listener.on_event = [&](const ProgressEvent& event) {
    if (event.stage == Stage::kDenoise && event.done > 0 && fs::exists(scratch / "state")) ++seen;
  };
  Host host;
  engine->generate_all({one}, host, listener, {});
  CHECK(seen >= 3);
  CHECK(host.reports.size() == 1);
}

TEST_CASE("a video whose time is over ends alone") {
  const Scratch scratch;
  const auto engine = open();
  std::vector<BatchItem> items = {item(*engine, kA, 1,
                                       [](Request& r) {
                                         r.steps = 1000;
                                         r.frames = 33;
                                       }),
                                  item(*engine, kB, 2)};
  alone(*engine, items[1]);  // the weights are there
  items[0].outputs.timeout_s = 3;
  items[0].outputs.checkpoint_path = scratch / "state";
  Host host;
  run(*engine, items, host);
  REQUIRE(host.errors.size() == 1);
  CHECK(host.errors[0].first == 0);
  CHECK(host.errors[0].second.kind() == ErrorKind::kTimeout);
  CHECK_THAT(host.errors[0].second.what(), Catch::Contains("--resume"));
  CHECK(fs::exists(scratch / "state"));
  CHECK(host.bytes(1) == alone(*engine, items[1]));
}

TEST_CASE("numbers that are not finite: once more in fp32 with composed attention") {
  const auto engine = open({.dtype = Dtype::kBf16});
  Pictures pictures;
  pictures.fail_once = true;
  std::vector<BatchItem> items = {item(*engine, kA, 1), item(*engine, kB, 2)};
  items[0].outputs.preview = &pictures;
  Host host;
  run(*engine, items, host);
  REQUIRE(host.errors.empty());
  CHECK_THAT(host.reports.at(0).retried,
             Catch::Contains("made up: NaN") && Catch::Contains("fp32"));
  CHECK(host.reports.at(1).retried.empty());
  const auto safe = open({.dtype = Dtype::kFp32, .attention = "reference"});
  CHECK(host.bytes(0) == alone(*safe, items[0]));
  CHECK(host.bytes(1) == alone(*engine, items[1]));
}

TEST_CASE("a video that does not fit takes none of its wave with it") {
  const auto unlimited = open();
  const auto engine = open({.offload = Offload::kModel, .ram_budget_bytes = int64_t{1} << 30});
  const auto wide = [](int64_t width) { return [width](Request& r) { r.width = width; }; };
  const auto huge = [](Request& r) {
    r.width = 1280;
    r.height = 720;
    r.frames = 161;
  };
  const std::vector<BatchItem> items = {
      item(*unlimited, kA, 1), item(*unlimited, kA, 2, wide(96)), item(*unlimited, kA, 3, huge),
      item(*unlimited, kB, 4, wide(128)), item(*unlimited, kB, 5)};
  Host host;
  run(*engine, items, host);
  REQUIRE(host.errors.size() == 1);
  CHECK(host.errors[0].first == 2);
  CHECK(host.errors[0].second.kind() == ErrorKind::kOutOfMemory);
  CHECK(host.reports.size() == 4);
  CHECK(host.bytes(4) == alone(*unlimited, items[4]));
}

TEST_CASE("a failure may be tried again, or end the batch") {
  const auto engine = open();
  std::vector<BatchItem> items = {item(*engine, kA, 1), item(*engine, kB, 2)};
  items[0].outputs.save_latents_path = "/nowhere/at/all";
  items[0].outputs.timeout_s = 1000;  // alone
  const Scratch scratch;
  std::ofstream(scratch / "broken") << "not a state";
  std::vector<BatchItem> broken = items;
  broken[0].outputs.checkpoint_path = scratch / "broken";
  broken[0].outputs.resume = true;
  Host stops;
  stops.after_failure = AfterFailure::kStop;
  run(*engine, broken, stops);
  REQUIRE(stops.errors.size() == 1);
  CHECK(stops.errors[0].second.kind() == ErrorKind::kInput);
  CHECK(stops.begun.empty());
  CHECK(stops.reports.empty());

  struct Twice final : BatchHost {
    void on_begin(size_t) override { ++begun; }
    FrameSink* open_sink(size_t) override { return nullptr; }
    void on_done(size_t, const Report&) override { ++done; }
    AfterFailure on_failed(size_t, const Error&) override {
      return ++failed < 2 ? AfterFailure::kAgain : AfterFailure::kGoOn;
    }
    int begun = 0, done = 0, failed = 0;
  } twice;
  SilentListener listener;
  engine->generate_all(items, twice, listener, {});
  CHECK(twice.failed == 2);
  CHECK(twice.done == 1);
  CHECK(twice.begun == 3);
}

TEST_CASE("each step can be looked at") {
  const auto engine = open();
  Pictures pictures;
  BatchItem one = item(*engine, kA, 1, [](Request& r) {
    r.steps = 20;
    r.frames = 17;
  });
  one.outputs.preview = &pictures;
  Host host;
  run(*engine, {one}, host);
  REQUIRE(host.errors.empty());
  CHECK(pictures.steps.size() == 20);
  CHECK(pictures.steps.back() == 20);
  CHECK(pictures.width == 3 * 64);
  CHECK(pictures.height == 64);
}

namespace {

// A copy of the shipped model with one tensor of a file changed.
void copy_model(const std::string& folder, const std::string& file, const std::string& tensor,
                const std::function<at::Tensor(const at::Tensor&)>& change) {
  fs::copy(kModel, folder, fs::copy_options::recursive);
  const std::string path = folder + "/" + file;
  std::vector<weights::NamedTensor> tensors;
  {
    const auto source = weights::Checkpoint::open(path);
    for (const auto& entry : source.tensors()) {
      const at::Tensor value = source.load(entry.name);
      tensors.push_back({entry.name, entry.name == tensor ? change(value).contiguous() : value});
    }
  }
  weights::write_safetensors(path, tensors);
}

}  // namespace

TEST_CASE("overflow in the transformer names step and block") {
  const Scratch scratch;
  copy_model(scratch / "model", "transformer/diffusion_pytorch_model.safetensors",
             "blocks.1.ffn.net.2.bias", [](const at::Tensor& t) { return t * 0 + 3e38; });
  const auto engine = open({.model_path = scratch / "model"});
  Host host;
  run(*engine, {item(*engine, kA, 1)}, host);
  REQUIRE(host.errors.size() == 1);
  CHECK(host.errors[0].second.kind() == ErrorKind::kNumeric);
  CHECK_THAT(host.errors[0].second.what(),
             Catch::Contains("step 0") && Catch::Contains("block 1") && Catch::Contains("fp32"));
}

TEST_CASE("a clip of one colour is a failure, and leaves no file") {
  const Scratch scratch;
  copy_model(scratch / "model", "vae/diffusion_pytorch_model.safetensors",
             "decoder.conv_out.weight", [](const at::Tensor& t) { return t * 0; });
  const auto engine = open({.model_path = scratch / "model"});
  Host host;
  run(*engine, {item(*engine, kA, 1)}, host);
  REQUIRE(host.errors.size() == 1);
  CHECK(host.errors[0].second.kind() == ErrorKind::kNumeric);
  CHECK_THAT(host.errors[0].second.what(), Catch::Contains("every pixel"));
  CHECK(host.reports.empty());
}

TEST_CASE("a run that does not fit is told the smallest changes that would do") {
  const auto engine = open({.model_path = "random:1.3b",
                            .dtype = Dtype::kBf16,
                            .quant = Quant::kNone,
                            .ram_budget_bytes = int64_t{4} << 30});
  Request request;
  request.prompt = kA;
  request.width = 1280;
  request.height = 720;
  request.frames = 161;
  const auto refusal = [&](const Request& of) -> std::string {
    try {
      engine->resolve(of);
      return "";
    } catch (const Error& error) {
      CHECK(error.kind() == ErrorKind::kOutOfMemory);
      return error.what();
    }
  };
  const std::string told = refusal(request);
  CHECK_THAT(told, Catch::Contains("; try --") && Catch::Contains("--size "));
  const size_t at = told.find("--frames ", told.find("; try "));
  REQUIRE(at != std::string::npos);
  request.frames = std::stoll(told.substr(at + 9));
  CHECK(refusal(request).empty());
  request.frames = *request.frames + 4;
  CHECK_FALSE(refusal(request).empty());
}
