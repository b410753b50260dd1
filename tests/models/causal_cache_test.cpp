// Causal passes over a cache: what the ring holds, and that the tiny transformer computes the same
// whatever the ring's order, its positions and its rotation of sinks.
#include "models/wan/causal_cache.h"

#include <ATen/ATen.h>

#include <catch2/catch.hpp>

#include "models/tiny_fixture.h"
#include "models/wan/transformer.h"
#include "ops/norm.h"
#include "ops/rope.h"
#include "support/compare.h"

using namespace t2v;
using models::wan::CacheShape;
using models::wan::CausalCache;
using models::wan::Condition;
using models::wan::SlotTable;
using models::wan::Transformer;
using testing::mismatch;

namespace {

constexpr int64_t kTextLen = 40;
constexpr int64_t kHeight = 6, kWidth = 10;  // of the latents
constexpr testing::Tolerance kFp32{2e-5, 2e-5};

const Transformer::Hooks kHooks{[] {}, [](int64_t, const std::function<void()>& load) { load(); }};

CacheShape shape_of(int64_t window, int64_t sinks, int64_t chunk) {
  return {.num_layers = 2,
          .num_heads = 2,
          .head_size = 22,
          .frame_tokens = kHeight * kWidth / 4,
          .window = window,
          .sinks = sinks,
          .chunk = chunk,
          .largest_chunk = chunk};
}

// Clean latents through the tiny transformer, chunk after chunk.
class Runner {
 public:
  explicit Runner(const CacheShape& shape)
      : cache(shape, at::kFloat, at::kCPU),
        model_(models::read_transformer_spec(testing::tiny_path("transformer/config.json")),
               testing::tiny_transformer_weights(),
               models::wan::resident_plan(
                   models::read_transformer_spec(testing::tiny_path("transformer/config.json"))),
               at::kFloat, at::kCPU) {
    model_.begin_prompt();
    condition_ = model_.make_condition(testing::tiny_reference("text_rows"), kTextLen);
  }

  // The model's output for a chunk at positions from `position` on.
  at::Tensor pass(const at::Tensor& chunk, int64_t position, double timestep, bool only_keys) {
    const auto rope = ops::make_rope_tables(chunk.size(1), kHeight / 2, kWidth / 2,
                                            model_.spec().head_size, at::kCPU, position);
    const auto time = model_.make_time(timestep);
    const auto outputs =
        model_.forward({.time = time, .rope = rope, .only_keys = only_keys},
                       {{.latents = chunk, .condition = &condition_, .cache = &cache}}, kHooks);
    CHECK(outputs.empty() == only_keys);
    return outputs.empty() ? at::Tensor() : outputs[0];
  }

  // One chunk whose keys stay; what the model says to it at timestep 0 with these keys.
  at::Tensor step(const at::Tensor& latents, int64_t first, int64_t count, int64_t offset = 0) {
    const at::Tensor chunk = latents.narrow(1, first, count).contiguous();
    cache.begin_chunk(first, count);
    pass(chunk * 0.5, first + offset, 625.5, false);  // a noisy pass leaves nothing behind
    cache.begin_keep();
    const at::Tensor output = pass(chunk, first + offset, 0, false);
    cache.end_keep();
    return output;
  }

  at::Tensor run(const at::Tensor& latents, int64_t chunk, int64_t offset = 0) {
    std::vector<at::Tensor> outputs;
    for (int64_t first = 0; first < latents.size(1); first += chunk)
      outputs.push_back(step(latents, first, chunk, offset));
    return at::cat(outputs, 1);
  }

  CausalCache cache;

 private:
  Transformer model_;
  Condition condition_;
};

at::Tensor test_latents(int64_t frames) {
  auto generator = at::detail::createCPUGenerator(5);
  return at::randn({16, frames, kHeight, kWidth}, generator, at::kFloat);
}

// Keys of layer 1 in the order of their frames.
at::Tensor ordered_keys(const CausalCache& cache, const std::vector<int64_t>& slots_by_frame) {
  std::vector<at::Tensor> parts;
  const int64_t n = cache.shape().frame_tokens;
  for (const int64_t slot : slots_by_frame) parts.push_back(cache.keys(1).narrow(1, slot * n, n));
  return at::cat(parts, 1);
}

double cosine(const at::Tensor& a, const at::Tensor& b) {
  return at::cosine_similarity(a.flatten().to(at::kDouble), b.flatten().to(at::kDouble), 0)
      .item<double>();
}

}  // namespace

TEST_CASE("slots fill in order, then the oldest frame that is no sink goes") {
  SlotTable table(6, 2);
  CHECK(table.enter(0, 3) == std::vector<int64_t>{0, 1, 2});
  CHECK(table.used() == 3);
  CHECK(table.first_in_window() == 2);
  CHECK(table.enter(3, 3) == std::vector<int64_t>{3, 4, 5});
  CHECK(table.enter(6, 3) == std::vector<int64_t>{2, 3, 4});
  CHECK(table.frames() == std::vector<int64_t>{0, 1, 6, 7, 8, 5});
  CHECK(table.first_in_window() == 5);
  CHECK(table.enter(9, 3) == std::vector<int64_t>{5, 2, 3});
  CHECK(table.frames() == std::vector<int64_t>{0, 1, 10, 11, 8, 9});
  // A thousand chunks later it still holds the last four.
  for (int64_t first = 12; first < 3012; first += 3) table.enter(first, 3);
  auto frames = table.frames();
  std::sort(frames.begin(), frames.end());
  CHECK(frames == std::vector<int64_t>{0, 1, 3008, 3009, 3010, 3011});
  CHECK(table.used() == 6);
}

TEST_CASE("chunks of other sizes: a short first one, one larger than the room, no room at all") {
  SlotTable table(7, 0);
  CHECK(table.enter(0, 1) == std::vector<int64_t>{0});
  CHECK(table.enter(1, 3) == std::vector<int64_t>{1, 2, 3});
  CHECK(table.enter(4, 3) == std::vector<int64_t>{4, 5, 6});
  CHECK(table.enter(7, 3) == std::vector<int64_t>{0, 1, 2});
  CHECK(table.first_in_window() == 3);
  SlotTable small(2, 0);
  CHECK(small.enter(0, 3) == std::vector<int64_t>{-1, 0, 1});
  CHECK(small.enter(3, 3) == std::vector<int64_t>{-1, 0, 1});
  CHECK(small.frames() == std::vector<int64_t>{4, 5});
  SlotTable none(0, 0);
  CHECK(none.enter(0, 2) == std::vector<int64_t>{-1, -1});
  CHECK(none.used() == 0);
  CHECK(none.first_in_window() == -1);
}

TEST_CASE("keeping the last frames moves each to a free place in front of it") {
  SlotTable table(6, 2);
  table.enter(0, 6);
  table.enter(6, 3);  // 0 1 6 7 8 5
  SlotTable one = table;
  const auto moves = one.keep_last(1);
  REQUIRE(moves.size() == 1);
  CHECK(moves[0].from == 4);
  CHECK(moves[0].to == 2);
  CHECK(one.frames() == std::vector<int64_t>{0, 1, 8});
  CHECK(one.enter(9, 3) == std::vector<int64_t>{3, 4, 5});
  CHECK(table.keep_last(0).empty());
  CHECK(table.frames() == std::vector<int64_t>{0, 1});
}

TEST_CASE("the bytes told are the bytes taken") {
  for (const bool int8 : {false, true}) {
    CacheShape shape = shape_of(8, 2, 3);
    shape.head_size = 128;
    shape.int8 = int8;
    shape.relative_sinks = true;
    const int64_t wide = int8 ? 5 : 8;
    const int64_t row = 2 * 128;
    const int64_t sixteen = 2 * 15 * (2 * wide + 2) * row * 2;
    const int64_t past = int8 ? 2 * 15 * 2 * 3 * (row + 2 * 2 * 2) : 0;
    CHECK(models::wan::cache_bytes(shape, 2) == sixteen + past);
  }
  // 1.3B at 480p: 288 MB a frame.
  const CacheShape wan{.num_layers = 30,
                       .num_heads = 12,
                       .head_size = 128,
                       .frame_tokens = 1560,
                       .window = 21,
                       .chunk = 3,
                       .largest_chunk = 3};
  CHECK(models::wan::cache_bytes(wan, 2) == int64_t{21} * 1560 * 184320);
}

TEST_CASE("a ring equals a linear cache that is cut to the same frames") {
  const at::Tensor latents = test_latents(12);
  Runner ring(shape_of(6, 0, 2));
  Runner linear(shape_of(12, 0, 2));
  for (int64_t first = 0; first < 12; first += 2) {
    linear.cache.keep_last(4);
    const at::Tensor a = ring.step(latents, first, 2);
    const at::Tensor b = linear.step(latents, first, 2);
    CHECK(mismatch(a, b, kFp32) == "");
  }
  CHECK(ring.cache.frames() == std::vector<int64_t>{6, 7, 8, 9, 10, 11});
  CHECK(linear.cache.frames() == ring.cache.frames());
  // Frames 6..11: slots 0..5 of the ring; the linear one's prefix moves and grows alike.
  CHECK(ring.cache.keys(1).size(1) == linear.cache.keys(1).size(1));
  CHECK(mismatch(ordered_keys(ring.cache, {0, 1, 2, 3, 4, 5}),
                 ordered_keys(linear.cache, {0, 1, 2, 3, 4, 5}), kFp32) == "");
  // And the window matters: without a limit the last chunk is another.
  Runner all(shape_of(12, 0, 2));
  const at::Tensor whole = all.run(latents, 2).narrow(1, 10, 2);
  Runner again(shape_of(6, 0, 2));
  CHECK(mismatch(again.run(latents, 2).narrow(1, 10, 2), whole, {1e-3, 1e-3}) != "");
}

TEST_CASE("sinks stay, and turning their keys equals making them at the new index") {
  const int64_t n = 15;
  const at::Tensor raw = test_latents(7).flatten().narrow(0, 0, 3 * n * 132).view({3 * n, 132});
  const at::Tensor ones = at::ones({44}, at::kFloat);
  const auto keys_at = [&](int64_t first) {
    const auto rope = ops::make_rope_tables(3, 3, 5, 22, at::kCPU, first);
    const ops::QkvHeads out = ops::empty_heads(raw, 2, 3 * n);
    ops::qk_norm_rope(
        {.qkv = raw, .norm_q = ones, .norm_k = ones, .rope = &rope, .first_token = 0, .eps = 1e-6},
        out);
    return out.k;
  };
  for (const int64_t turn : {0, 1, 17, 5000}) {
    const at::Tensor turned = at::empty_like(keys_at(0));
    ops::rotate_frames(keys_at(0), turn, turned);
    CHECK(mismatch(turned, keys_at(turn), {1e-5, 1e-5}) == "");
  }
  CHECK(mismatch(keys_at(1), keys_at(2), {1e-3, 1e-3}) != "");
}

TEST_CASE("relative sinks stand right before the window; before it moves they change nothing") {
  const at::Tensor latents = test_latents(12);
  CacheShape shape = shape_of(6, 2, 2);
  Runner absolute(shape);
  shape.relative_sinks = true;
  Runner relative(shape);
  const at::Tensor a = absolute.run(latents, 2);
  const at::Tensor r = relative.run(latents, 2);
  CHECK(mismatch(r.narrow(1, 0, 6), a.narrow(1, 0, 6), {}) == "");
  CHECK(mismatch(r.narrow(1, 10, 2), a.narrow(1, 10, 2), {1e-3, 1e-3}) != "");
  CHECK(relative.cache.frames() == std::vector<int64_t>{0, 1, 8, 9, 10, 11});
  // The window's oldest frame is 8: the sinks are turned by 6.
  const int64_t rows = 2 * shape.frame_tokens;
  const at::Tensor turned = at::empty({2, rows, 22});
  ops::rotate_frames(absolute.cache.keys(0).narrow(1, 0, rows), 6, turned);
  CHECK(mismatch(relative.cache.keys(0).narrow(1, 0, rows), turned, {1e-5, 1e-5}) == "");
}

TEST_CASE("all positions a thousand frames later give the same output") {
  const at::Tensor latents = test_latents(6);
  Runner here(shape_of(6, 0, 2));
  Runner later(shape_of(6, 0, 2));
  CHECK(mismatch(later.run(latents, 2, 1000), here.run(latents, 2), {1e-3, 1e-3}) == "");
}

TEST_CASE("a pass that stops early leaves bit-identical keys and values") {
  for (const bool int8 : {false, true}) {
    const at::Tensor latents = test_latents(4);
    CacheShape shape = shape_of(6, 1, 2);
    shape.int8 = int8;
    Runner whole(shape);
    Runner early(shape);
    for (int64_t first = 0; first < 4; first += 2) {
      whole.step(latents, first, 2);
      early.cache.begin_chunk(first, 2);
      early.cache.begin_keep();
      early.pass(latents.narrow(1, first, 2).contiguous(), first, 0, true);
      early.cache.end_keep();
    }
    for (int64_t layer = 0; layer < 2; ++layer) {
      CHECK(mismatch(early.cache.keys(layer), whole.cache.keys(layer), {}) == "");
      CHECK(mismatch(early.cache.values(layer), whole.cache.values(layer), {}) == "");
      if (!int8) continue;
      CHECK(early.cache.window(layer).k.size(1) == 3 * shape.frame_tokens);
      CHECK(at::equal(early.cache.window(layer).k, whole.cache.window(layer).k));
      CHECK(at::equal(early.cache.window(layer).v_scale, whole.cache.window(layer).v_scale));
    }
  }
}

TEST_CASE("a past in int8 gives nearly the same, sinks and wrap-around included") {
  const at::Tensor latents = test_latents(14);
  for (const int64_t sinks : {0, 3}) {
    for (const bool relative : {false, true}) {
      CacheShape shape = shape_of(8, sinks, 2);
      shape.relative_sinks = relative;
      Runner wide(shape);
      shape.int8 = true;
      Runner narrow(shape);
      const at::Tensor a = wide.run(latents, 2);
      const at::Tensor b = narrow.run(latents, 2);
      CHECK(cosine(a, b) > 0.9995);
      CHECK(mismatch(a.narrow(1, 12, 2), b.narrow(1, 12, 2), {1e-6, 1e-6}) != "");
      const auto frames = narrow.cache.frames();
      CHECK(static_cast<int64_t>(frames.size()) == 8 - 2);
      CHECK(frames.back() == 13);
    }
  }
}

TEST_CASE("a cut keeps the sinks and the last frame") {
  const at::Tensor latents = test_latents(10);
  for (const bool int8 : {false, true}) {
    CacheShape shape = shape_of(6, 2, 2);
    shape.int8 = int8;
    Runner runner(shape);
    runner.run(latents.narrow(1, 0, 8), 2);
    runner.cache.keep_last(1);
    CHECK(runner.cache.frames() == std::vector<int64_t>{0, 1, 7});
    const at::Tensor output = runner.step(latents, 8, 2);
    CHECK(at::isfinite(output).all().item<bool>());
  }
}
