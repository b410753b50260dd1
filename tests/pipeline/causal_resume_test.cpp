// Causal videos that end early and go on, bit for bit as if nothing had happened; and looks at them
// while they are made.
#include <ATen/ATen.h>

#include <catch2/catch.hpp>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <map>
#include <memory>
#include <thread>

#include "batch_host.h"
#include "pipeline/checkpoint.h"
#include "pipeline/latent_preview.h"
#include "pipeline/model.h"
#include "pipeline/step_preview.h"
#include "t2v/engine.h"
#include "weights/checkpoint.h"
#include "weights/scratch.h"

using namespace t2v;
using test::Interrupt;
using test::KeepingHost;
using test::MemorySink;
using test::run;
using test::Scratch;
using test::SilentListener;
namespace fs = std::filesystem;

namespace {

const std::string kModel = T2V_MODELS "/shapes-causal";
constexpr int64_t kLatentFrames = 7;
constexpr int64_t kFrames = 4 * (kLatentFrames - 1) + 1;

std::unique_ptr<Engine> open(KvCache kv = KvCache::kAuto) {
  EngineOptions options;
  options.model_path = kModel;
  options.device = Device::kCpu;
  options.dtype = Dtype::kFp32;
  options.kv = kv;
  return open_engine(options);
}

// A way to generate, and how it is asked for.
struct Way {
  std::string name;
  std::string values;  // of the profile, behind the common ones
  KvCache kv = KvCache::kAuto;
  int64_t steps = 2;          // of a chunk
  std::vector<int64_t> cuts;  // steps behind which it is interrupted
  std::vector<int64_t> kept;  // ... and those that the state then has
  bool changes_prompt = false;
};

// Seven latent frames: chunks of 1, or of 1, 2, 2, 2.
const std::vector<Way> kWays = {
    {"ring",
     R"("first_chunk": 1, "chunk": 1, "window": 3, "sinks": 0, "sink_rope": "absolute",
        "sampler": "euler", "timesteps": [1000, 500], "guidance_scale": 1,
        "prompt_change": "reset-cross")",
     KvCache::kAuto,
     2,
     {5, 6, 13},
     {4, 6, 12}},
    {"sinks that turn",
     R"("first_chunk": 1, "chunk": 2, "window": 5, "sinks": 2, "sink_rope": "relative",
        "sampler": "renoise", "timesteps": [1000, 700, 300], "guidance_scale": 1,
        "prompt_change": "reset-cross")",
     KvCache::kAuto,
     3,
     {4, 9, 11},
     {3, 9, 9}},
    {"int8, guided",
     R"("first_chunk": 1, "chunk": 2, "window": 5, "sinks": 1, "sink_rope": "absolute",
        "sampler": "unipc", "timesteps": [1000, 700, 300], "guidance_scale": 2,
        "prompt_change": "reset-cross")",
     KvCache::kInt8,
     3,
     {7, 10},
     {6, 9}},
    {"made anew for another prompt",
     R"("first_chunk": 1, "chunk": 1, "window": 4, "sinks": 1, "sink_rope": "absolute",
        "sampler": "renoise", "timesteps": [1000, 500], "guidance_scale": 1,
        "prompt_change": "recache")",
     KvCache::kAuto,
     2,
     {7, 11},
     {6, 10},
     true},
    {"cut",
     R"("first_chunk": 1, "chunk": 1, "window": 4, "sinks": 1, "sink_rope": "relative",
        "sampler": "renoise", "timesteps": [1000, 500], "guidance_scale": 1,
        "prompt_change": "flush")",
     KvCache::kInt8,
     2,
     {9, 11},
     {8, 10},
     true}};

Recipe recipe_of(const Engine& engine, const Way& way, const Scratch& scratch, uint64_t seed = 3) {
  const std::string path = scratch / "profile.json";
  std::ofstream(path) << R"({"warp": true, "shift": 3, "context_timestep": 0, "fps": 8, )"
                      << way.values << "}";
  Request request;
  request.prompt = "a red circle moves right on a black background";
  request.causal = path;
  request.width = request.height = 32;
  request.frames = kFrames;
  request.seed = seed;
  if (way.changes_prompt) request.prompts_at = {{1.5, "a blue square grows on a white background"}};
  return engine.resolve(request);
}

// The error of a run that is stopped.
Error interrupted(Engine& engine, const BatchItem& item, int64_t step) {
  KeepingHost host;
  Interrupt interrupt(step);
  CHECK_THROWS_AS(engine.generate_all({item}, host, interrupt, interrupt.token), Error);
  REQUIRE(host.errors.size() == 1);
  CHECK(host.errors[0].second.kind() == ErrorKind::kCancelled);
  CHECK(host.reports.empty());
  return host.errors[0].second;
}

at::Tensor latents_in(const std::string& path) {
  return weights::Checkpoint::open(path).load("latents").squeeze(0).clone();
}

// A video that nothing has disturbed.
struct Whole {
  Whole(Engine& engine, const Recipe& recipe, const Scratch& scratch) {
    BatchItem item{.recipe = recipe, .outputs = {}};
    item.outputs.save_latents_path = scratch / "whole.safetensors";
    KeepingHost host;
    run(engine, {item}, host);
    REQUIRE(host.errors.empty());
    bytes = host.bytes(0);
    latents = latents_in(item.outputs.save_latents_path);
    num_steps = host.reports.at(0).steps.size();
  }
  std::vector<uint8_t> bytes;
  at::Tensor latents;
  size_t num_steps = 0;
};

BatchItem with_state(const Recipe& recipe, const Scratch& scratch) {
  BatchItem item{.recipe = recipe, .outputs = {}};
  item.outputs.checkpoint_path = scratch / "state";
  item.outputs.save_latents_path = scratch / "latents.safetensors";
  return item;
}

struct Pictures final : PreviewListener {
  void on_preview(const PreviewPicture& picture) override {
    steps.push_back(picture.step);
    num_steps = picture.num_steps;
    widths.push_back(picture.width);
    last = at::empty({picture.height, picture.width, 3}, at::kByte);
    std::copy_n(picture.rgb, last.numel(), last.mutable_data_ptr<uint8_t>());
  }
  std::vector<int64_t> steps, widths;
  int64_t num_steps = 0;
  at::Tensor last;  // uint8 [H, W, 3]
};

}  // namespace

TEST_CASE("an interrupted causal video goes on bit for bit") {
  for (const Way& way : kWays) {
    const Scratch scratch;
    const auto engine = open(way.kv);
    BatchItem item = with_state(recipe_of(*engine, way, scratch), scratch);
    const Whole whole(*engine, item.recipe, scratch);
    for (size_t i = 0; i < way.cuts.size(); ++i) {
      INFO(way.name << ", interrupted behind step " << way.cuts[i]);
      item.outputs.resume = false;
      const Error error = interrupted(*engine, item, way.cuts[i]);
      CHECK_THAT(error.what(), Catch::Contains("the state after step " +
                                               std::to_string(way.kept[i]) + " is in") &&
                                   Catch::Contains("--resume"));
      REQUIRE(fs::exists(item.outputs.checkpoint_path));

      const auto later = open(way.kv);
      item.outputs.resume = true;
      KeepingHost again;
      run(*later, {item}, again);
      REQUIRE(again.errors.empty());
      CHECK(again.reports.at(0).resumed_steps == way.kept[i]);
      CHECK(again.reports.at(0).steps.size() == whole.num_steps - static_cast<size_t>(way.kept[i]));
      CHECK(again.bytes(0) == whole.bytes);
      CHECK(at::equal(latents_in(item.outputs.save_latents_path), whole.latents));
      CHECK_FALSE(fs::exists(item.outputs.checkpoint_path));
    }
  }
}

TEST_CASE("a causal video goes on from any state that is written on the way") {
  const Way& way = kWays[1];
  const Scratch scratch;
  const auto engine = open();
  BatchItem item = with_state(recipe_of(*engine, way, scratch), scratch);
  const Whole whole(*engine, item.recipe, scratch);
  item.outputs.checkpoint_every_s = 1e-9;
  std::map<int64_t, std::string> copies;  // by steps done, as a killed process leaves them
  SilentListener listener;
  listener.on_event = [&](const ProgressEvent& event) {
    if (event.stage != Stage::kDenoise || event.done % way.steps != 0) return;
    if (!fs::exists(item.outputs.checkpoint_path)) return;
    copies[event.done] = scratch / ("copy" + std::to_string(event.done));
    fs::copy_file(item.outputs.checkpoint_path, copies[event.done],
                  fs::copy_options::overwrite_existing);
  };
  KeepingHost host;
  engine->generate_all({item}, host, listener, {});
  CHECK(host.bytes(0) == whole.bytes);
  CHECK_FALSE(fs::exists(item.outputs.checkpoint_path));
  REQUIRE(copies.size() == 4);  // behind each chunk, and behind the last one
  item.outputs.resume = true;
  for (const auto& [steps, path] : copies) {
    INFO("state behind step " << steps);
    item.outputs.checkpoint_path = path;
    KeepingHost again;
    run(*engine, {item}, again);
    REQUIRE(again.errors.empty());
    CHECK(again.reports.at(0).resumed_steps == steps);
    CHECK(again.bytes(0) == whole.bytes);
    CHECK(at::equal(latents_in(item.outputs.save_latents_path), whole.latents));
  }
}

TEST_CASE("a causal video that is interrupted twice keeps what it had") {
  const Scratch scratch;
  const auto engine = open();
  BatchItem item = with_state(recipe_of(*engine, kWays[0], scratch), scratch);
  const Whole whole(*engine, item.recipe, scratch);
  interrupted(*engine, item, 7);
  item.outputs.resume = true;
  interrupted(*engine, item, 1);  // while the past is made again
  interrupted(*engine, item, 10);
  KeepingHost host;
  run(*engine, {item}, host);
  REQUIRE(host.errors.empty());
  CHECK(host.reports.at(0).resumed_steps == 10);
  CHECK(host.bytes(0) == whole.bytes);
}

TEST_CASE("a causal video is interrupted while its last frames are decoded") {
  const Way& way = kWays[0];
  const Scratch scratch;
  const auto engine = open();
  BatchItem item = with_state(recipe_of(*engine, way, scratch), scratch);
  const Whole whole(*engine, item.recipe, scratch);
  MemorySink sink;
  CancelToken token;
  sink.on_write = [&](int64_t frames) {
    if (frames < kFrames - 3) return;  // of the last latent frame: no step is left
    token.cancel();
    std::this_thread::sleep_for(std::chrono::milliseconds(500));
  };
  item.outputs.sink = &sink;
  SilentListener listener;
  try {
    engine->generate(item.recipe, item.outputs, listener, token);
    FAIL("it was not interrupted");
  } catch (const Error& error) {
    CHECK(error.kind() == ErrorKind::kCancelled);
  }
  CHECK(sink.aborted);
  CHECK_FALSE(sink.finished);
  item.outputs.sink = nullptr;
  item.outputs.resume = true;
  KeepingHost host;
  run(*engine, {item}, host);
  REQUIRE(host.errors.empty());
  CHECK(host.reports.at(0).resumed_steps == 14);
  CHECK(host.reports.at(0).steps.empty());
  CHECK(host.bytes(0) == whole.bytes);
}

TEST_CASE("causal states: another recipe's is not gone on from, a damaged one is refused") {
  const Way& way = kWays[1];
  const Scratch scratch;
  const auto engine = open();
  BatchItem item = with_state(recipe_of(*engine, way, scratch), scratch);
  interrupted(*engine, item, 7);
  BatchItem other = with_state(recipe_of(*engine, way, scratch, 4), scratch);
  other.outputs.resume = true;
  const Whole whole(*engine, other.recipe, scratch);
  const std::string state = scratch / "state";
  fs::copy_file(state, scratch / "good");
  KeepingHost host;
  run(*engine, {other}, host);
  REQUIRE(host.errors.empty());
  CHECK(host.reports.at(0).resumed_steps == 0);
  CHECK(host.bytes(0) == whole.bytes);

  const auto refused = [&](const std::string& part) {
    KeepingHost broken;
    item.outputs.resume = true;
    run(*engine, {item}, broken);
    REQUIRE(broken.errors.size() == 1);
    CHECK(broken.errors[0].second.kind() == ErrorKind::kInput);
    CHECK_THAT(broken.errors[0].second.what(), Catch::Contains(part) && Catch::Contains(state) &&
                                                   Catch::Contains("try without --resume"));
  };
  fs::copy_file(scratch / "good", state);
  {
    std::fstream file(state, std::ios::in | std::ios::out | std::ios::binary);
    file.seekp(-9, std::ios::end);
    file.put('\x7f');
  }
  refused("checksum");
  fs::resize_file(state, fs::file_size(state) / 2);
  refused("");
  // Whole by its checksum, and yet no video of this profile: half a chunk, sides, steps, no noise.
  const std::string recipe_json = engine->recipe_json(item.recipe);
  const auto good = pipeline::read_checkpoint(scratch / "good", recipe_json);
  REQUIRE(good.has_value());
  REQUIRE(good->latents.size(1) == 3);
  const auto wrong = [&](const std::function<void(pipeline::StepState&)>& change) {
    pipeline::StepState changed = *good;
    change(changed);
    pipeline::write_checkpoint(state, changed, recipe_json);
    refused("does not fit");
  };
  wrong([](auto& s) { s.latents = s.latents.narrow(1, 0, 2).contiguous(); });
  wrong([](auto& s) { s.latents = s.latents.narrow(2, 0, 2).contiguous(); });
  wrong([](auto& s) { s.latents = at::cat({s.latents, s.latents, s.latents}, 1); });
  wrong([](auto& s) { s.latents = s.latents.to(at::kDouble); });
  wrong([](auto& s) { s.steps_done = 5; });
  wrong([](auto& s) { s.history.generator = at::Tensor(); });
  wrong([](auto& s) { s.history.generator = at::zeros({4}, at::kByte); });
}

namespace {

// Its first sink is full with the 14th of 25 frames, in the fifth latent frame.
class FailsOnce final : public KeepingHost {
 public:
  FrameSink* open_sink(size_t i) override {
    FrameSink* sink = KeepingHost::open_sink(i);
    if (i == 0 && errors.empty()) static_cast<MemorySink*>(sink)->fail_at = 14;
    return sink;
  }
  AfterFailure on_failed(size_t i, const Error& error) override {
    KeepingHost::on_failed(i, error);
    return AfterFailure::kAgain;
  }
};

}  // namespace

TEST_CASE("a causal video of a batch is tried again from its state") {
  const Scratch scratch;
  const auto engine = open();
  std::vector<BatchItem> items = {with_state(recipe_of(*engine, kWays[0], scratch), scratch),
                                  {recipe_of(*engine, kWays[0], scratch, 4), {}}};
  items[0].outputs.checkpoint_every_s = 1e-9;
  items[0].outputs.resume = true;
  const Whole first(*engine, items[0].recipe, scratch);
  const Whole second(*engine, items[1].recipe, scratch);
  FailsOnce host;
  run(*engine, items, host);
  REQUIRE(host.errors.size() == 1);
  CHECK(host.errors[0].second.kind() == ErrorKind::kOutput);
  REQUIRE(host.reports.size() == 2);
  CHECK(host.reports.at(0).resumed_steps >= 4 * kWays[0].steps);
  CHECK(host.reports.at(1).resumed_steps == 0);
  CHECK(host.bytes(0) == first.bytes);
  CHECK(host.bytes(1) == second.bytes);
}

TEST_CASE("a causal video can be looked at behind each step") {
  const Way& way = kWays[1];
  const Scratch scratch;
  const auto engine = open();
  BatchItem item = with_state(recipe_of(*engine, way, scratch), scratch);
  Pictures pictures;
  item.outputs.preview = &pictures;
  const Whole whole(*engine, item.recipe, scratch);
  KeepingHost host;
  run(*engine, {item}, host);
  REQUIRE(host.errors.empty());
  CHECK(host.bytes(0) == whole.bytes);
  CHECK(pictures.steps == std::vector<int64_t>{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12});
  CHECK(pictures.num_steps == 12);
  // The first chunk is one latent frame, of 4x4 latents, 8 pixels each.
  constexpr int64_t kSide = 32;
  CHECK(pictures.widths == std::vector<int64_t>{kSide, kSide, kSide, 3 * kSide, 3 * kSide,
                                                3 * kSide, 3 * kSide, 3 * kSide, 3 * kSide,
                                                3 * kSide, 3 * kSide, 3 * kSide});
  // At the end: the first, the middle and the last frame of the whole video.
  EngineOptions options;
  options.model_path = kModel;
  const auto factors =
      pipeline::preview_factors_of(pipeline::open_model(options, pipeline::open_storage(options)))
          .value();
  const at::Tensor all = pipeline::preview_frames(whole.latents, 8, factors).to(at::kInt);
  const at::Tensor shown = pictures.last.to(at::kInt);
  const auto at_place = [&](int64_t place) { return shown.narrow(1, place * kSide, kSide); };
  CHECK(at::equal(at_place(0), all[0]));
  CHECK(at::equal(at_place(1), all[kLatentFrames / 2]));
  CHECK((at_place(2) - all[kLatentFrames - 1]).abs().max().item<int>() <= 1);
  CHECK_FALSE(at::equal(all[0], all[kLatentFrames / 2]));

  // A resumed video shows what an earlier run has made.
  interrupted(*engine, item, 10);
  pictures.steps.clear();
  item.outputs.resume = true;
  KeepingHost again;
  run(*engine, {item}, again);
  REQUIRE(again.errors.empty());
  CHECK(pictures.steps == std::vector<int64_t>{10, 11, 12});
  CHECK(at::equal(pictures.last.to(at::kInt), shown));
}

TEST_CASE("of a long past, frames are kept that are evenly spread") {
  pipeline::PreviewPast past;
  // Each frame is its number.
  const at::Tensor all = at::arange(1000, at::kFloat).view({1, 1000, 1, 1});
  for (int64_t first = 0; first < 1000;) {
    const int64_t count = first == 0 ? 1 : 3;
    past.add(all.narrow(1, first, count));
    first += count;
    CHECK(past.num_frames() == first);
    // Not further away than one of kMostFrames / 2 equal parts.
    const int64_t most = first <= 64 ? 0 : 2 * first / 64;
    for (const int64_t t : {int64_t{0}, first / 3, first / 2, first - 1}) {
      const auto kept = past.frame(t).item<float>();
      CHECK(kept <= static_cast<float>(t));
      CHECK(kept >= static_cast<float>(t - most));
    }
  }
  CHECK(past.frame(0).sizes() == at::IntArrayRef({1, 1, 1, 1}));
}
