// What --profile and --trace record of a real run of the shipped model.
#include <ATen/ATen.h>

#include <catch2/catch.hpp>
#include <filesystem>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <set>
#include <vector>

#include "pipeline/kineto.h"
#include "pipeline/memory_curve.h"
#include "pipeline/memory_sink.h"
#include "pipeline/trace_file.h"
#include "t2v/engine.h"
#include "t2v/machine.h"

using namespace t2v;
using test::MemorySink;
using test::SilentListener;
using Json = nlohmann::json;
namespace fs = std::filesystem;

namespace {

EngineOptions options(bool profile, bool trace) {
  EngineOptions options;
  options.model_path = T2V_MODELS "/shapes";
  options.device = Device::kCpu;
  options.dtype = Dtype::kFp32;
  options.profile = profile;
  options.trace = trace;
  return options;
}

Recipe small_recipe(const Engine& engine, uint64_t seed) {
  Request request;
  request.prompt = "a red circle moves right on a black background";
  request.steps = 3;
  request.frames = 9;
  request.seed = seed;
  return engine.resolve(request);
}

class Host final : public BatchHost {
 public:
  void on_begin(size_t) override {}
  FrameSink* open_sink(size_t) override {
    return sinks.emplace_back(std::make_unique<MemorySink>()).get();
  }
  void on_done(size_t, const Report& report) override { reports.push_back(report); }
  AfterFailure on_failed(size_t, const Error&) override { return AfterFailure::kStop; }
  std::vector<std::unique_ptr<MemorySink>> sinks;
  std::vector<Report> reports;
};

Report generate(Engine& engine, ProgressListener& listener) {
  MemorySink sink;
  GenerateOutputs outputs;
  outputs.sink = &sink;
  return engine.generate(small_recipe(engine, 5), outputs, listener, CancelToken());
}

const KernelTime* find(const Report& report, const std::string& name) {
  for (const KernelTime& kernel : report.kernels)
    if (kernel.name == name) return &kernel;
  return nullptr;
}

double micros(const Json& event) { return event.at("ts").get<double>(); }

}  // namespace

TEST_CASE("a profile has operations, FLOP, the peak and the memory curve") {
  const auto engine = open_engine(options(true, false));
  SilentListener listener;
  int64_t most = 0;
  listener.on_event = [&](const ProgressEvent& event) { most = std::max(most, event.host_bytes); };
  const Report report = generate(*engine, listener);
  CHECK(most > 1 << 20);  // progress tells memory
  double kernel_ms = 0;
  double flop = 0;
  for (const KernelTime& kernel : report.kernels) {
    kernel_ms += kernel.device_ms;
    flop += kernel.flop;
    CHECK(kernel.calls > 0);
  }
  CHECK(flop == Approx(report.flop));
  CHECK(kernel_ms < report.total_ms);
  CHECK(kernel_ms > report.total_ms / 4);  // most of the work is known by name
  for (const char* name :
       {"linear", "self_attention", "cross_attention", "qk_norm_rope", "text_block", "vae_norm"}) {
    CAPTURE(name);
    CHECK(find(report, name) != nullptr);
  }
  CHECK(find(report, "solver_step")->calls == 3);
  CHECK(find(report, "linear")->flop > find(report, "self_attention")->flop / 100);
  CHECK(report.peak_flop_per_s > 1e8);
  CHECK(report.denoise_flop_per_s > 1e6);
  CHECK(report.denoise_flop_per_s < 2 * report.peak_flop_per_s);

  REQUIRE(report.memory.size() >= 2);
  CHECK(report.memory.front().ms < 1000);
  CHECK(report.memory.back().ms > report.total_ms * 0.9);
  for (size_t i = 0; i < report.memory.size(); ++i) {
    CHECK(report.memory[i].host_bytes > 0);
    CHECK(report.memory[i].host_bytes <= report.host_peak_bytes / 49 * 50);
    if (i > 0) CHECK(report.memory[i].ms >= report.memory[i - 1].ms);
  }
  double stages = 0;
  for (const StageTime& stage : report.stages) {
    stages += stage.wall_ms;
    CHECK(stage.device_ms == stage.wall_ms);  // on the CPU
    CHECK(stage.bytes_h2d == 0);
  }
  CHECK(stages <= report.total_ms * 1.001);
  for (const StepTime& step : report.steps) CHECK(step.device_ms == step.wall_ms);
}

TEST_CASE("without --profile nothing of it is recorded") {
  const auto engine = open_engine(options(false, false));
  SilentListener listener;
  const Report report = generate(*engine, listener);
  CHECK(report.kernels.empty());
  CHECK(report.memory.empty());
  CHECK(report.flop == 0);
  CHECK(report.peak_flop_per_s == 0);
}

TEST_CASE("videos that take their steps together share their profile") {
  const auto engine = open_engine(options(true, false));
  std::vector<BatchItem> items(3);
  for (size_t i = 0; i < items.size(); ++i) items[i].recipe = small_recipe(*engine, 10 + i);
  Host host;
  SilentListener listener;
  engine->generate_all(items, host, listener, CancelToken());
  REQUIRE(host.reports.size() == 3);
  for (const Report& report : host.reports) {
    CHECK(find(report, "linear") != nullptr);
    CHECK(find(report, "conv3d") != nullptr);  // of its own decoding
    CHECK(report.denoise_flop_per_s > 0);
    CHECK(report.memory.size() >= 2);
    CHECK(report.memory.size() <= pipeline::kMaxMemoryPoints);
  }
}

TEST_CASE("a curve of memory stays short and keeps its highest point") {
  pipeline::ThinnedCurve curve(100);
  for (int i = 0; i < 100'000; ++i)
    curve.add({.ms = i * 25.0,
               .device_bytes = i == 55'555 ? 9000 : 5,
               .host_bytes = i == 77'777 ? 8000 : 6});
  const auto& points = curve.points();
  CHECK(points.size() < 100);
  CHECK(points.size() > 20);
  CHECK(points.front().ms == 0);
  CHECK(points.back().ms > 100'000 * 25.0 * 0.9);
  int64_t device = 0;
  int64_t host = 0;
  for (const MemoryPoint& point : points) {
    device = std::max(device, point.device_bytes);
    host = std::max(host, point.host_bytes);
  }
  CHECK(device == 9000);
  CHECK(host == 8000);
}

TEST_CASE("a trace has every stage and step, Kineto's operations, and nests") {
  const auto engine = open_engine(options(false, true));
  SilentListener listener;
  generate(*engine, listener);
  const std::string path = (fs::path(T2V_BINARY_DIR) / "tests" / "trace.json").string();
  engine->write_trace(path);
  std::ifstream file(path);
  const Json trace = Json::parse(file);
  std::map<std::string, std::set<std::string>> names;  // by category
  std::map<std::pair<int64_t, int64_t>, std::vector<std::pair<double, double>>> rows;
  std::pair<double, double> denoise{0, 0};
  size_t steps = 0;
  for (const Json& event : trace.at("traceEvents")) {
    const std::string phase = event.at("ph");
    if (phase == "M") continue;
    const std::string category = event.at("cat");
    names[category].insert(event.at("name").get<std::string>());
    if (phase != "X") continue;
    const double end = micros(event) + event.at("dur").get<double>();
    CHECK(micros(event) >= 0);
    if (category == "step") ++steps;
    if (event.at("name") == "denoise") denoise = {micros(event), end};
    rows[{event.at("pid").get<int64_t>(), event.at("tid").get<int64_t>()}].emplace_back(
        micros(event), end);
  }
  for (const char* stage : {"load_text_encoder", "text_encode", "load_transformer", "denoise",
                            "load_vae", "vae_decode", "video_encode"})
    CHECK(names["stage"].count(stage) == 1);
  CHECK(names["step"] == std::set<std::string>{"step 0", "step 1", "step 2"});
  CHECK(steps == 3);
  CHECK(names["block"].count("block 0") == 1);
  CHECK(names["read"].size() > 1);
  CHECK(names["op"].count("linear") == 1);
  CHECK(names["video"].count("video 0") == 1);
  CHECK(names["aten"].count("aten::linear") + names["aten"].count("aten::mm") +
            names["aten"].count("mkldnn::_linear_pointwise") >
        0);
  CHECK(names["aten"].size() > 10);
  // Spans of one row either lie in each other or apart (a microsecond of rounding).
  for (auto& [row, spans] : rows) {
    if (row.first != 1) continue;
    std::sort(spans.begin(), spans.end(), [](const auto& a, const auto& b) {
      return a.first < b.first || (a.first == b.first && a.second > b.second);
    });
    std::vector<double> open;
    size_t crossed = 0;
    for (const auto& [begin, end] : spans) {
      while (!open.empty() && open.back() <= begin + 0.001) open.pop_back();
      if (!open.empty() && end > open.back() + 0.002) ++crossed;
      open.push_back(end);
    }
    CHECK(crossed == 0);
  }
  // One time axis: Kineto has operations while we denoise.
  size_t inside = 0;
  for (const auto& [row, spans] : rows)
    for (const auto& [begin, end] : spans)
      inside += row.first == 2 && begin > denoise.first && end < denoise.second ? 1 : 0;
  CHECK(inside > 100);
  CHECK(trace.at("otherData").contains("left_out"));
}

TEST_CASE("the machine is described") {
  const MachineFacts facts = examine_machine(options(false, false));
  CHECK(facts.libtorch.starts_with("2."));
  CHECK(facts.num_threads > 0);
  CHECK(facts.kernels.size() >= 4);
  CHECK(facts.host_bytes > 1 << 20);
  CHECK(facts.peak_flop_per_s > 1e8);
  CHECK(facts.device.starts_with("CPU"));
}

TEST_CASE("a trace names devices and queues, says what it lacks, and escapes what it is told") {
  core::TraceRecord own;
  own.spans = {{.category = "stage",
                .name = "odd \"name\"\n",
                .detail = "\x01",
                .begin_ns = 1'000'000,
                .end_ns = 3'000'000,
                .thread = 7,
                .kind = core::SpanKind::kCoarse},
               {.category = "video",
                .name = "video 0",
                .begin_ns = 1'000'000,
                .end_ns = 9'000'000,
                .thread = 7,
                .kind = core::SpanKind::kAcross}};
  own.threads[7] = "engine";
  own.left_out["op"] = 5;
  pipeline::KinetoRecord kineto;
  kineto.names = {"aten::mm", "gemm_kernel<64>"};
  kineto.spans = {
      {.name = 0, .begin_ns = 1'500'000, .end_ns = 1'700'000, .thread = 7, .device = -1},
      {.name = 1, .begin_ns = 1'600'000, .end_ns = 2'600'000, .thread = 20, .device = 1}};
  kineto.ended_ns = 4'000'000;
  kineto.left_out = 3;
  const std::string path = (fs::path(T2V_BINARY_DIR) / "tests" / "made_up.json").string();
  pipeline::write_trace_file(path, own, kineto);
  std::ifstream file(path);
  const Json trace = Json::parse(file);
  std::map<std::string, Json> events;
  for (const Json& event : trace.at("traceEvents"))
    events[event.at("name").get<std::string>() + event.at("ph").get<std::string>()] = event;
  const Json& kernel = events.at("gemm_kernel<64>X");
  CHECK(kernel["cat"] == "kernel");
  CHECK(kernel["pid"] == 11);
  CHECK(kernel["tid"] == 20);
  CHECK(kernel["ts"] == 600.0);
  CHECK(kernel["dur"] == 1000.0);
  CHECK(events.at("odd \"name\"\nX")["args"]["detail"] == "\x01");
  CHECK(events.at("video 0b")["id"] == events.at("video 0e")["id"]);
  CHECK(events.at("video 0e")["ts"] == 8000.0);
  CHECK(trace["otherData"]["left_out"]["op"] == 5);
  CHECK(trace["otherData"]["kineto_left_out"] == 3);
  CHECK(trace["otherData"]["kineto_ended_ms"] == 3.0);
  CHECK_THROWS_AS(pipeline::write_trace_file("/no/such/folder/t.json", own, kineto), Error);
}

// The last one: nothing is recorded behind it.
TEST_CASE("Kineto is switched off between two steps when there are too many events") {
  const size_t before = pipeline::kineto_record().spans.size();
  const size_t most = before + 50;
  {
    const pipeline::KinetoWindow window(true, at::kCPU, most);
    const pipeline::KinetoWindow second(true, at::kCPU, most);  // does nothing
    pipeline::kineto_boundary();
    CHECK_FALSE(pipeline::kineto_record().ended_ns.has_value());
    at::Tensor x = at::ones({4});
    for (int i = 0; i < 200; ++i) x.add_(1);
    pipeline::kineto_boundary();
    const pipeline::KinetoRecord record = pipeline::kineto_record();
    CHECK(record.spans.size() == most);
    CHECK(record.left_out > 100);
    CHECK(record.ended_ns.has_value());
    x.add_(1);
  }
  const pipeline::KinetoWindow later(true, at::kCPU);
  pipeline::kineto_boundary();
  CHECK(pipeline::kineto_record().spans.size() == most);
}
