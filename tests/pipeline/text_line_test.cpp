// Texts of a batch: those of later videos are encoded beside the denoising of earlier ones, each
// text once; what goes wrong there is told of the video that needs it.
#include <atomic>
#include <catch2/catch.hpp>
#include <functional>

#include "batch_host.h"
#include "t2v/engine.h"

using namespace t2v;
using Host = test::KeepingHost;
using test::MemorySink;

namespace {

// Sees the encoding of texts that are not yet needed.
class Watch final : public ProgressListener {
 public:
  void on_progress(const ProgressEvent& event) override {
    if (event.stage == Stage::kDenoise) ++steps;
    if (event.stage != Stage::kTextEncode) return;
    if (!event.background) {
      ++passes_at_once;
      return;
    }
    ++blocks_ahead;
    if (at_block) at_block();
  }
  std::function<void()> at_block;
  int steps = 0;
  int blocks_ahead = 0;
  int passes_at_once = 0;
  CancelToken cancel;
};

// Of all videos.
ConditionUse use_of(const Host& host) {
  ConditionUse sum;
  for (const auto& [item, report] : host.reports) {
    sum.text_misses += report.conditions.text_misses;
    sum.text_hits += report.conditions.text_hits;
  }
  return sum;
}

std::unique_ptr<Engine> open(EngineOptions options = {}) {
  options.model_path = T2V_MODELS "/shapes";
  options.device = Device::kCpu;
  options.dtype = Dtype::kFp32;
  return open_engine(options);
}

// Videos whose shapes differ in turn, so that each is denoised by itself.
std::vector<BatchItem> videos(const Engine& engine, int count, bool different) {
  std::vector<BatchItem> items;
  for (int i = 0; i < count; ++i) {
    Request request;
    request.prompt = "a red circle moves right, take " + std::to_string(different ? i : i % 2);
    request.steps = 4;
    request.frames = 5;
    request.width = i % 2 == 0 ? 64 : 96;
    request.seed = static_cast<uint64_t>(i);
    items.push_back({.recipe = engine.resolve(request), .outputs = {}});
  }
  return items;
}

std::vector<uint8_t> alone(const BatchItem& of) {
  const auto engine = open();
  MemorySink sink;
  Watch watch;
  engine->generate(of.recipe, {.sink = &sink}, watch, {});
  return std::move(sink.bytes);
}

}  // namespace

TEST_CASE("texts of later videos are encoded beside the denoising, each once") {
  for (const bool different : {true, false}) {
    const auto engine = open();
    const auto items = videos(*engine, 6, different);
    Watch watch;
    Host host;
    engine->generate_all(items, host, watch, {});
    REQUIRE(host.reports.size() == items.size());
    CHECK(watch.blocks_ahead > 0);
    for (size_t i = 0; i < items.size(); ++i) CHECK(host.bytes(i) == alone(items[i]));
    const ConditionUse use = use_of(host);
    CHECK(use.text_misses == (different ? 6 : 2) + 1);  // and the negative prompt
    CHECK(use.text_hits + use.text_misses == 12);
  }
}

TEST_CASE("without room beside the denoising all texts come first, in one pass") {
  const auto open_small = [](int64_t budget) { return open({.ram_budget_bytes = budget}); };
  const auto engine = open_small(0);
  const auto items = videos(*engine, 4, true);
  // The smallest budget that one video fits into.
  int64_t low = int64_t{100} << 20;
  int64_t high = int64_t{4} << 30;
  while (high - low > (int64_t{4} << 20)) {
    const int64_t middle = (low + high) / 2;
    Watch watch;
    Host host;
    open_small(middle)->generate_all({items[1]}, host, watch, {});
    (host.errors.empty() ? high : low) = middle;
  }
  Watch watch;
  Host host;
  // The process itself grows between two engines; texts beside would take 64 MiB and more.
  high += int64_t{24} << 20;
  open_small(high)->generate_all(items, host, watch, {});
  REQUIRE(host.reports.size() == items.size());
  CHECK(watch.blocks_ahead == 0);
  CHECK(host.reports.at(0).conditions.text_misses == 5);
}

TEST_CASE("an error of texts made ahead does not reach the videos before; a bug does") {
  const auto engine = open();
  const auto items = videos(*engine, 6, true);
  Watch watch;
  int thrown = 0;
  watch.at_block = [&] {
    ++thrown;
    throw Error(ErrorKind::kModel, "made up");
  };
  Host host;
  engine->generate_all(items, host, watch, {});
  CHECK(thrown == 1);  // and nothing more was begun ahead
  CHECK(host.errors.empty());
  CHECK(host.reports.size() == items.size());
  CHECK(host.bytes(5) == alone(items[5]));
  CHECK(host.reports.at(1).conditions.text_misses == 5);  // all others, in one pass

  watch.at_block = [] { throw std::logic_error("made up"); };
  Host other;
  CHECK_THROWS_AS(open()->generate_all(items, other, watch, {}), std::logic_error);
}

TEST_CASE("a user who stops is heard while texts are made ahead") {
  const auto engine = open();
  const auto items = videos(*engine, 6, true);
  Watch watch;
  watch.at_block = [&] { watch.cancel.cancel(); };
  Host host;
  try {
    engine->generate_all(items, host, watch, watch.cancel);
    FAIL("was not interrupted");
  } catch (const Error& error) {
    CHECK(error.kind() == ErrorKind::kCancelled);
  }
  CHECK(host.reports.size() < items.size());
}
