#include "cli/metrics_file.h"

#include <prometheus/counter.h>
#include <prometheus/gauge.h>
#include <prometheus/histogram.h>
#include <prometheus/registry.h>
#include <prometheus/text_serializer.h>

#include <algorithm>
#include <chrono>
#include <utility>

#include "cli/text_file.h"
#include "cli/video_output.h"
#include "core/counters.h"
#include "t2v/version.h"

namespace t2v::cli {
namespace {

using prometheus::BuildCounter;
using prometheus::BuildGauge;
using prometheus::BuildHistogram;
using prometheus::Family;
using prometheus::Histogram;
using Buckets = Histogram::BucketBoundaries;

// Seconds: from the shipped model's tenths to a night of the largest one.
const Buckets& buckets() {
  static const Buckets all = {0.01, 0.03, 0.1, 0.3,  1,    3,    10,    30,
                              60,   180,  600, 1800, 3600, 7200, 14400, 43200};
  return all;
}

constexpr ItemStatus kStatuses[] = {ItemStatus::kDone, ItemStatus::kFailed, ItemStatus::kSkipped,
                                    ItemStatus::kRefused, ItemStatus::kInterrupted};

double seconds_since_1970() {
  return std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
}

}  // namespace

struct MetricsFile::Metrics {
  Metrics() {
    for (const ItemStatus status : kStatuses) videos.Add({{"status", item_status_name(status)}});
    for (Family<Histogram>* family : {&total, &first_step})
      family->Add({}, buckets());  // from zero
    started.Set(seconds_since_1970());
  }

  prometheus::Gauge& gauge(const std::string& name, const std::string& help) {
    return BuildGauge().Name(name).Help(help).Register(registry).Add({});
  }
  prometheus::Counter& counter(const std::string& name, const std::string& help) {
    return BuildCounter().Name(name).Help(help).Register(registry).Add({});
  }
  Family<prometheus::Counter>& counters(const std::string& name, const std::string& help) {
    return BuildCounter().Name(name).Help(help).Register(registry);
  }
  // One histogram for each set of labels.
  Family<Histogram>& histograms(const std::string& name, const std::string& help) {
    return BuildHistogram().Name(name).Help(help).Register(registry);
  }
  static void observe(Family<Histogram>& family, const prometheus::Labels& labels, double ms) {
    family.Add(labels, buckets()).Observe(ms / 1000);
  }

  void add(const Report& report) {
    if (report.together > 0) together.Set(static_cast<double>(report.together));
    observe(total, {}, report.total_ms);
    if (!report.steps.empty()) observe(first_step, {}, report.first_step_ms);
    for (const StageTime& stage : report.stages)
      observe(stages, {{"stage", stage_name(stage.stage)}}, stage.wall_ms);
    for (const StepTime& step : report.steps)
      observe(steps, {{"kind", step.predicted ? "predicted" : "computed"}}, step.wall_ms);
    const ConditionUse& use = report.conditions;
    add_lookups("text", use.text_hits, use.text_misses);
    add_lookups("keys", use.key_hits, use.key_misses);
    bytes_read.Increment(static_cast<double>(report.weights.bytes));
    if (!report.retried.empty()) retried.Increment();
    host_peak.Set(static_cast<double>(report.host_peak_bytes));
    device_peak.Set(std::max(device_peak.Value(), static_cast<double>(report.device_peak_bytes)));
    if (!has_build_) {
      has_build_ = true;
      BuildGauge()
          .Name("t2v_build_info")
          .Help("Always 1; version, model and device of the run.")
          .Register(registry)
          .Add({{"version", kVersion}, {"model", report.model}, {"device", report.device}})
          .Set(1);
    }
  }
  void add_lookups(const std::string& kind, int64_t hits, int64_t misses) {
    const auto one = [&](const char* result, int64_t number) {
      lookups.Add({{"kind", kind}, {"result", result}}).Increment(static_cast<double>(number));
    };
    one("hit", hits);
    one("miss", misses);
  }

  // Kept as Prometheus has them, from zero on in each run.
  prometheus::Registry registry;
  Family<prometheus::Counter>& videos = counters("t2v_videos_total", "Videos that have ended.");
  prometheus::Gauge& queue = gauge("t2v_queue_videos", "Videos of this run that have not ended.");
  Family<prometheus::Counter>& lookups =
      counters("t2v_condition_cache_lookups_total",
               "Prompts looked up: their text embeddings, their cross-attention keys.");
  Family<prometheus::Counter>& blocks = counters(
      "t2v_block_cache_reads_total", "Blocks of remote models: from the cache folder, or read.");
  prometheus::Counter& bytes_read =
      counter("t2v_weight_bytes_read_total", "Bytes of weights that were read.");
  prometheus::Counter& retried =
      counter("t2v_numeric_retries_total", "Videos made once more in fp32.");
  prometheus::Gauge& host_peak =
      gauge("t2v_host_memory_peak_bytes", "The most memory that the process has taken.");
  prometheus::Gauge& device_peak =
      gauge("t2v_device_memory_peak_bytes", "The most memory that tensors have taken on the GPU.");
  prometheus::Gauge& together =
      gauge("t2v_videos_together", "Videos that took their steps together, the last time.");
  prometheus::Gauge& started =
      gauge("t2v_start_time_seconds", "When the run began, since 1970-01-01.");
  prometheus::Gauge& written =
      gauge("t2v_metrics_time_seconds", "When this file was written, since 1970-01-01.");
  Family<Histogram>& total = histograms("t2v_video_seconds", "From a video's begin to its file.");
  Family<Histogram>& first_step =
      histograms("t2v_first_step_seconds", "From a video's begin to the end of its first step.");
  Family<Histogram>& stages = histograms("t2v_stage_seconds", "The stages of a video.");
  Family<Histogram>& steps = histograms("t2v_step_seconds", "Sampling steps.");
  int64_t hits_told = 0;
  int64_t misses_told = 0;

 private:
  bool has_build_ = false;
};

MetricsFile::MetricsFile(std::string path) : path_(std::move(path)) {
  if (!path_.empty()) metrics_ = std::make_unique<Metrics>();
}

MetricsFile::~MetricsFile() = default;

void MetricsFile::begin(int64_t num_videos) {
  if (!metrics_) return;
  metrics_->queue.Set(static_cast<double>(num_videos));
  write();
}

void MetricsFile::add(ItemStatus status, const Report* report) {
  if (!metrics_) return;
  metrics_->videos.Add({{"status", item_status_name(status)}}).Increment();
  metrics_->queue.Decrement();
  if (report) metrics_->add(*report);
  write();
}

void MetricsFile::write() const {
  if (!metrics_) return;
  Metrics& m = *metrics_;
  const auto tell = [&](const char* result, core::Counter counter, int64_t& told) {
    const int64_t now = core::counted(counter);
    m.blocks.Add({{"result", result}}).Increment(static_cast<double>(now - told));
    told = now;
  };
  tell("hit", core::Counter::kBlockCacheHits, m.hits_told);
  tell("miss", core::Counter::kBlockCacheMisses, m.misses_told);
  m.written.Set(seconds_since_1970());
  write_file(path_, prometheus::TextSerializer().Serialize(m.registry.Collect()));
}

}  // namespace t2v::cli
