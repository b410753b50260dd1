// What making videos together gains: the same videos one by one (the model stays loaded), as a
// batch that only decodes beside, and as a batch that also takes steps together; in turns.
//   bench_batch [--model models/shapes] [--size 64x64] [--frames 17] [--steps 8] [--videos 8]
//               [--device cpu] [--repeats 3]
// JSON lines: the time of all videos, the gain in throughput over one by one, and what is not
// denoising of the first stage to the last file (text, decoding, encoding that nothing hides).
#include <algorithm>
#include <cstdio>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "bench/device_clock.h"
#include "bench/null_ends.h"
#include "core/check.h"
#include "t2v/engine.h"

namespace {

using namespace t2v;

using bench::NullListener;
using bench::NullSink;

// A video's share of the steps that it took with others.
double denoise_ms_of(const Report& report) {
  double sum = 0;
  for (const StageTime& stage : report.stages)
    if (stage.stage == Stage::kDenoise) sum += stage.wall_ms;
  return sum / static_cast<double>(report.together);
}

class Host final : public BatchHost {
 public:
  void on_begin(size_t) override {}
  FrameSink* open_sink(size_t) override { return &sink_; }
  void on_done(size_t, const Report& report) override {
    together = std::max(together, report.together);
    denoise_ms += denoise_ms_of(report);
  }
  AfterFailure on_failed(size_t, const Error& error) override { throw error; }
  int64_t together = 0;
  double denoise_ms = 0;

 private:
  NullSink sink_;
};

Request read_request(const bench::Arguments& arguments) {
  Request request;
  int width = 0;
  int height = 0;
  T2V_REQUIRE(std::sscanf(arguments.text("size").c_str(), "%dx%d", &width, &height) == 2,
              ErrorKind::kUsage, "--size: expected WIDTHxHEIGHT");
  request.width = width;
  request.height = height;
  request.frames = arguments.number("frames");
  request.steps = arguments.number("steps");
  return request;
}

int run(const bench::Arguments& arguments) {
  EngineOptions options;
  options.model_path = arguments.text("model");
  options.device = arguments.device().is_cpu() ? Device::kCpu : Device::kCuda;
  const auto engine = open_engine(options);
  Request request = read_request(arguments);
  std::vector<BatchItem> items;
  for (int64_t i = 0; i < arguments.number("videos"); ++i) {
    request.prompt = core::str("a circle moves right, take ", i);
    request.seed = static_cast<uint64_t>(i);
    items.push_back({.recipe = engine->resolve(request), .outputs = {}});
  }
  std::vector<BatchItem> by_themselves = items;
  for (BatchItem& item : by_themselves) item.outputs.timeout_s = 1e6;  // such take no step together
  NullListener quiet;
  const CancelToken cancel;
  int64_t together = 0;
  double denoise_ms = 0;
  const auto batch = [&](const std::vector<BatchItem>& of) {
    Host host;
    engine->generate_all(of, host, quiet, cancel);
    together = host.together;
    denoise_ms = host.denoise_ms;
  };
  const auto one_by_one = [&] {
    NullSink sink;
    denoise_ms = 0;
    for (const BatchItem& item : items)
      denoise_ms += denoise_ms_of(engine->generate(item.recipe, {.sink = &sink}, quiet, cancel));
  };
  const bench::DeviceClock clock(arguments.device());
  one_by_one();  // warm-up
  struct Times {
    std::vector<double> all, not_denoising;
  } alone, beside, shared;
  const auto time = [&](Times& times, const std::function<void()>& work) {
    times.all.push_back(clock.time_once(work));
    times.not_denoising.push_back(times.all.back() - denoise_ms);
  };
  for (int64_t i = 0; i < arguments.number("repeats"); ++i) {
    time(alone, one_by_one);
    time(beside, [&] { batch(by_themselves); });
    time(shared, [&] { batch(items); });
  }
  const double base = bench::spread_of(alone.all).median;
  const double rest = bench::spread_of(alone.not_denoising).median;
  const auto tell = [&](const char* name, const Times& times, int64_t with) {
    const bench::Spread all = bench::spread_of(times.all);
    const bench::Spread not_denoising = bench::spread_of(times.not_denoising);
    bench::JsonLine()
        .add("name", name)
        .add("videos", arguments.number("videos"))
        .add("together", with)
        .add("all", all)
        .add("gain", base / all.median)
        .add("not_denoising", not_denoising)
        .add("share_of_that", not_denoising.median / rest)
        .print();
  };
  tell("one by one", alone, 1);
  tell("decoding beside", beside, 1);
  tell("batch", shared, together);
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  return t2v::bench::guarded_main("bench_batch", [&] {
    return run(t2v::bench::Arguments(argc, argv,
                                     {{"model", "models/shapes"},
                                      {"size", "64x64"},
                                      {"frames", "17"},
                                      {"steps", "8"},
                                      {"videos", "8"},
                                      {"device", "cpu"},
                                      {"repeats", "3"}}));
  });
}
