// The step cache in whole runs of the shipped model: nothing changes at a threshold that lets
// nothing pass, steps that are left out read no weights, videos decide for themselves, and an
// interrupted run goes on as if it had not been.
#include <algorithm>
#include <catch2/catch.hpp>
#include <filesystem>

#include "pipeline/memory_sink.h"
#include "t2v/engine.h"

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

std::string temporary(const std::string& name) {
  return (fs::path(T2V_BINARY_DIR) / "tests" / name).string();
}

// The table of this model, made when it is first asked for.
std::string table() {
  static const std::string path = [] {
    const std::string file = temporary("step_cache_engine.json");
    Request request;
    request.prompt = "a red circle moves right on a black background";
    request.frames = 5;
    request.seed = 1;
    SilentListener listener;
    const CancelToken cancel;
    const Report report =
        engine().calibrate_step_cache(engine().resolve(request), file, listener, cancel);
    CHECK(report.steps.size() == 20);
    return file;
  }();
  return path;
}

Recipe recipe(std::optional<StepCacheOptions> cache, uint64_t seed = 5, int64_t steps = 12) {
  Request request;
  request.prompt = "a green square moves up on a white background";
  request.steps = steps;
  request.frames = 5;
  request.seed = seed;
  request.step_cache = std::move(cache);
  return engine().resolve(request);
}

struct Made {
  std::vector<uint8_t> bytes;
  Report report;
};
Made make(Engine& with, const Recipe& what, GenerateOutputs outputs = {},
          SilentListener listener = {}) {
  MemorySink sink;
  const CancelToken cancel;
  outputs.sink = &sink;
  Report report = with.generate(what, outputs, listener, cancel);
  return {std::move(sink.bytes), std::move(report)};
}

const StepCacheOptions kBold{.policy = StepCachePolicy::kEasy, .threshold = 0.3};
StepCacheOptions bold_mag() {
  return {.policy = StepCachePolicy::kMag, .threshold = 0.5, .table_path = table()};
}

class Sinks final : public BatchHost {
 public:
  explicit Sinks(size_t count) : sinks(count), reports(count) {}
  void on_begin(size_t) override {}
  FrameSink* open_sink(size_t item) override { return &sinks[item]; }
  void on_done(size_t item, const Report& report) override { reports[item] = report; }
  AfterFailure on_failed(size_t, const Error& error) override {
    FAIL_CHECK(error.what());
    return AfterFailure::kStop;
  }
  std::vector<MemorySink> sinks;
  std::vector<Report> reports;
};

}  // namespace

TEST_CASE("a threshold that lets nothing pass gives the bytes of off") {
  const Made off = make(engine(), recipe({}));
  CHECK(off.report.step_cache.mask.empty());
  for (StepCacheOptions cache : {kBold, bold_mag()}) {
    cache.threshold = 1e-300;
    const Made made = make(engine(), recipe(cache));
    CHECK(made.report.step_cache.mask == std::string(12, '1'));
    CHECK(made.bytes == off.bytes);
  }
}

TEST_CASE("predicted steps are told, change the result a little, and need no block") {
  const Made off = make(engine(), recipe({}));
  for (const StepCacheOptions& cache : {kBold, bold_mag()}) {
    const Made made = make(engine(), recipe(cache));
    const std::string& mask = made.report.step_cache.mask;
    CAPTURE(mask);
    REQUIRE(mask.size() == 12);
    CHECK(std::count(mask.begin(), mask.end(), '0') >= 3);
    CHECK((mask.front() == '1' && mask.back() == '1'));
    CHECK(made.report.step_cache.estimated_error > 0);
    for (size_t i = 0; i < mask.size(); ++i)
      CHECK(made.report.steps[i].predicted == (mask[i] == '0'));
    CHECK(made.bytes != off.bytes);
    double difference = 0;
    for (size_t i = 0; i < off.bytes.size(); ++i)
      difference += std::abs(made.bytes[i] - off.bytes[i]);
    CHECK(difference / static_cast<double>(off.bytes.size()) < 25);
    // The first step of the low-noise expert is computed.
    const auto& steps = made.report.steps;
    for (size_t i = 1; i < steps.size(); ++i)
      if (steps[i].expert != steps[i - 1].expert) CHECK(mask[i] == '1');
  }
}

TEST_CASE("with streamed blocks a predicted step reads none, and the result is the same") {
  const auto streamed = open_engine({.model_path = T2V_MODELS "/shapes",
                                     .device = Device::kCpu,
                                     .dtype = Dtype::kFp32,
                                     .offload = Offload::kBlock});
  const Made off = make(*streamed, recipe({}));
  for (const StepCacheOptions& cache : {kBold, bold_mag()}) {
    const Made made = make(*streamed, recipe(cache));
    CHECK(made.bytes == make(engine(), recipe(cache)).bytes);
    const auto skipped =
        std::count(made.report.step_cache.mask.begin(), made.report.step_cache.mask.end(), '0');
    REQUIRE(skipped >= 3);
    CHECK(made.report.weights.streamed_blocks < off.report.weights.streamed_blocks);
    // What was loaded ahead of a last step that is predicted after all.
    CHECK(made.report.weights.bytes < off.report.weights.bytes);
  }
}

TEST_CASE("videos that take their steps together are predicted each by itself") {
  for (const StepCacheOptions& cache : {kBold, bold_mag()}) {
    std::vector<BatchItem> items(3);
    std::vector<Made> alone;
    for (size_t i = 0; i < items.size(); ++i) {
      items[i].recipe = recipe(cache, 20 + i);
      alone.push_back(make(engine(), items[i].recipe));
    }
    Sinks host(items.size());
    SilentListener listener;
    const CancelToken cancel;
    engine().generate_all(items, host, listener, cancel);
    for (size_t i = 0; i < items.size(); ++i) {
      CHECK(host.reports[i].together > 1);
      CHECK(host.reports[i].step_cache.mask == alone[i].report.step_cache.mask);
      const auto& bytes = host.sinks[i].bytes;
      REQUIRE(bytes.size() == alone[i].bytes.size());
      int64_t far = 0;
      for (size_t k = 0; k < bytes.size(); ++k)
        far += std::abs(bytes[k] - alone[i].bytes[k]) > 2 ? 1 : 0;
      CHECK(far == 0);
    }
  }
}

TEST_CASE("an interrupted run goes on with what the cache had") {
  const std::string path = temporary("step_cache_state.safetensors");
  Recipe distilled = recipe({}, 9);
  {
    Request request;
    request.prompt = distilled.prompt;
    request.frames = 5;
    request.seed = 9;
    request.preset = "rcm";
    distilled = engine().resolve(request);
  }
  for (const Recipe& what : {recipe(kBold), recipe(bold_mag()), distilled}) {
    const Made whole = make(engine(), what);
    for (int64_t stop = 1; stop<what.steps; stop += what.steps> 4 ? 3 : 1) {
      fs::remove(path);
      CancelToken cancel;
      SilentListener listener;
      listener.on_event = [&](const ProgressEvent& event) {
        if (event.stage == Stage::kDenoise && event.done == stop) cancel.cancel();
      };
      MemorySink sink;
      CHECK_THROWS_AS(
          engine().generate(what, {.sink = &sink, .checkpoint_path = path}, listener, cancel),
          Error);
      REQUIRE(fs::exists(path));
      const Made rest = make(engine(), what, {.checkpoint_path = path, .resume = true});
      CHECK(rest.report.resumed_steps == stop);
      CHECK(rest.report.step_cache.mask == whole.report.step_cache.mask);
      CHECK(rest.bytes == whole.bytes);
    }
  }
}
