// What belongs to a prompt is made once and changes nothing: the same bytes with and without the
// cache, nothing passes from one prompt or expert to another, and it stays within its limit.
#include "pipeline/condition_cache.h"

#include <ATen/ATen.h>

#include <catch2/catch.hpp>

#include "pipeline/memory_sink.h"
#include "t2v/engine.h"

using namespace t2v;
using namespace t2v::pipeline;
using models::wan::Condition;
using models::wan::Expert;
using test::MemorySink;
using test::SilentListener;

namespace {

std::unique_ptr<Engine> open(bool condition_cache, Offload offload = Offload::kAuto) {
  return open_engine({.model_path = T2V_MODELS "/shapes",
                      .device = Device::kCpu,
                      .dtype = Dtype::kFp32,
                      .condition_cache = condition_cache,
                      .offload = offload});
}

struct Made {
  std::vector<uint8_t> bytes;
  Report report;
};

Made make(Engine& engine, const std::string& prompt, uint64_t seed) {
  Request request;
  request.prompt = prompt;
  request.steps = 4;
  request.frames = 5;
  request.seed = seed;
  MemorySink sink;
  SilentListener listener;
  const CancelToken cancel;
  Report report = engine.generate(engine.resolve(request), {.sink = &sink}, listener, cancel);
  return {std::move(sink.bytes), std::move(report)};
}

constexpr const char* kA = "a red circle moves right on a black background";
constexpr const char* kB = "a blue square moves up on a white background";

std::shared_ptr<Condition> condition_of(int64_t rows) {
  auto condition = std::make_shared<Condition>();
  condition->keys.push_back({at::zeros({1, rows, 16}), at::zeros({1, rows, 16})});
  return condition;
}

}  // namespace

TEST_CASE("videos are the same with the cache on, off, and with streamed weights") {
  for (const Offload offload : {Offload::kAuto, Offload::kBlock}) {
    const auto with = open(true, offload);
    const auto without = open(false, offload);
    for (const auto& [prompt, seed] : {std::pair{kA, 1}, {kA, 2}, {kB, 1}, {kA, 1}}) {
      const Made a = make(*with, prompt, static_cast<uint64_t>(seed));
      const Made b = make(*without, prompt, static_cast<uint64_t>(seed));
      CHECK(a.bytes == b.bytes);
      CHECK(b.report.conditions.text_hits == 0);
      CHECK(b.report.conditions.key_hits == 0);
      CHECK(b.report.conditions.bytes == 0);
    }
  }
}

TEST_CASE("prompts do not leak into each other; hits are counted") {
  const auto engine = open(true);
  const Made first = make(*engine, kA, 5);
  const Made other = make(*engine, kB, 5);
  const Made again = make(*engine, kA, 5);
  CHECK(first.bytes == again.bytes);
  CHECK(first.bytes != other.bytes);
  CHECK(first.report.conditions.text_hits == 0);
  CHECK(first.report.conditions.key_misses > 0);
  CHECK(first.report.conditions.make_ms > 0);
  // The negative prompt is the same for all.
  CHECK(other.report.conditions.text_misses == 1);
  CHECK(again.report.conditions.text_misses == 0);
  CHECK(again.report.conditions.key_misses == 0);
  CHECK(again.report.conditions.key_hits == first.report.conditions.key_misses);
  CHECK(again.report.conditions.bytes > 0);
  CHECK(again.report.conditions.saved_ms > 0);
}

TEST_CASE("streamed blocks leave out the weights that only make keys") {
  const auto engine = open(true, Offload::kBlock);
  const Made first = make(*engine, kA, 5);
  const Made again = make(*engine, kA, 6);
  // Behind the first pass of each expert, and in all of them when the keys are known.
  CHECK(first.report.conditions.bytes_not_read > 0);
  CHECK(again.report.conditions.bytes_not_read > first.report.conditions.bytes_not_read);
  CHECK(again.report.weights.bytes < first.report.weights.bytes);
}

TEST_CASE("conditions are found by expert, prompt and length, and the oldest go first") {
  ConditionCache cache("", true);
  const int64_t each = condition_of(4)->bytes();
  cache.set_limit(3 * each);
  cache.keep(Expert::kHighNoise, "a", 512, condition_of(4));
  cache.keep(Expert::kLowNoise, "a", 512, condition_of(4));
  CHECK(cache.find(Expert::kHighNoise, "a", 512) != nullptr);
  CHECK(cache.find(Expert::kHighNoise, "a", 512) != cache.find(Expert::kLowNoise, "a", 512));
  CHECK(cache.find(Expert::kHighNoise, "a", 226) == nullptr);
  CHECK(cache.find(Expert::kHighNoise, "b", 512) == nullptr);
  CHECK(cache.find(Expert::kHighNoise, "a", 512) != nullptr);  // the low-noise one is the oldest
  cache.keep(Expert::kHighNoise, "b", 512, condition_of(4));
  CHECK(cache.bytes() == 3 * each);
  cache.keep(Expert::kHighNoise, "c", 512, condition_of(4));
  CHECK(cache.bytes() == 3 * each);
  CHECK(cache.find(Expert::kLowNoise, "a", 512) == nullptr);
  CHECK(cache.find(Expert::kHighNoise, "a", 512) != nullptr);
  cache.keep(Expert::kHighNoise, "large", 512, condition_of(400));
  CHECK(cache.find(Expert::kHighNoise, "large", 512) == nullptr);
  cache.set_limit(0);
  CHECK(cache.bytes() == 0);
}

TEST_CASE("a cache that is not wanted keeps nothing") {
  ConditionCache cache("", false);
  cache.set_limit(1 << 20);
  cache.keep(Expert::kHighNoise, "a", 512, condition_of(4));
  cache.keep_text("a", {at::zeros({3, 8}), 1.0});
  cache.keep_time(Expert::kHighNoise, 900, {});
  CHECK(cache.find(Expert::kHighNoise, "a", 512) == nullptr);
  CHECK_FALSE(cache.find_text("a").has_value());
  CHECK(cache.find_time(Expert::kHighNoise, 900) == nullptr);
}

TEST_CASE("small conditions are bounded in number too") {
  ConditionCache cache("", true);
  const int64_t each = condition_of(4)->bytes();
  cache.set_limit(int64_t{1} << 40);
  for (int i = 0; i < 1000; ++i)
    cache.keep(Expert::kHighNoise, std::to_string(i), 512, condition_of(4));
  CHECK(cache.bytes() <= 128 * each);
  CHECK(cache.find(Expert::kHighNoise, "999", 512) != nullptr);
  CHECK(cache.find(Expert::kHighNoise, "0", 512) == nullptr);
}
