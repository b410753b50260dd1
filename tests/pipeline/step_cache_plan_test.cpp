// The step cache's rules for published models, against the masks and tables that were published
// with them: MagCache (Ma et al. 2025), https://github.com/Zehong-Ma/MagCache, Apache-2.0,
// MagCache4Wan2.1/magcache_generate.py and MagCache4Wan2.2: conditional halves of mag_ratios.
#include "pipeline/step_cache_plan.h"

#include <catch2/catch.hpp>
#include <filesystem>
#include <fstream>

#include "pipeline/recipe.h"
#include "pipeline/step_cache_table.h"
#include "t2v/error.h"

using namespace t2v;
using namespace t2v::pipeline;
using Catch::Matchers::Contains;
namespace fs = std::filesystem;

namespace {

const std::vector<double> k13B = {
    1,      1.0124, 1.00166, .99791, .99682, .99634, .99567, .99416, .99578, .9957,
    .99511, .99535, .99552,  .99541, .9954,  .99489, .99518, .99484, .99481, .99415,
    .99419, .99396, .99388,  .99349, .99309, .9927,  .99228, .99171, .99137, .99068,
    .99005, .98944, .98849,  .98758, .98644, .98504, .9836,  .98202, .97977, .97717,
    .9741,  .97003, .96538,  .9593,  .95086, .94013, .92402, .90241, .86821, .81838};
const std::vector<double> k14B = {
    1,      1.02504, 1.00025, .9985,  .99779, .9966,  .99482, .99467, .99664, .99434,
    .99533, .99468,  .99438,  .99516, .99384, .99404, .99517, .99409, .99428, .99347,
    .99418, .99271,  .99313,  .99215, .99218, .99216, .99163, .99138, .98982, .98996,
    .9887,  .98772,  .98767,  .98573, .98501, .9838,  .98177, .98037, .97678, .97546,
    .97184, .96711,  .96349,  .95629, .94926, .93964, .92511, .90693, .8796,  .86111};
const std::vector<double> kA14B = {1,      1.00124, .99822, .99696, .99703, .9966,  .99602, .99578,
                                   .99484, .99633,  .99659, .99534, .99584, .99681, .99563, .9944,
                                   .99594, .99466,  .99453, .99389, .99391, .99354, .99283, .99268,
                                   .99057, .99125,  .65523, .98808, .98765, .9851,  .98311, .9805,
                                   .97776, .97278,  .96731, .95857, .94385, .92118, .88108, .80263};

// With the tuning of a published model; the last step is not kept, as in what was published.
std::string mask(const std::string& model, const std::vector<double>& ratios, int64_t boundary,
                 int64_t max_skips = 0) {
  StepCacheTuning tuning = step_cache_tuning(model);
  if (max_skips > 0) tuning.mag_max_skips = max_skips;
  const auto steps = static_cast<int64_t>(ratios.size());
  auto rules = make_rules({.policy = StepCachePolicy::kMag, .threshold = tuning.mag_threshold},
                          tuning, {.steps = steps, .boundary = boundary});
  rules.kept.back() = false;
  rules.ratios = ratios;
  std::string text;
  for (const bool computed : sched::plan_mag(rules).computed) text += computed ? '1' : '0';
  return text;
}

Model open_shapes() {
  EngineOptions options;
  options.model_path = T2V_MODELS "/shapes";
  return open_model(options, open_storage(options));
}
const Model& shapes() {
  static const Model model = open_shapes();
  return model;
}

std::string refusal(const std::function<void(Request&)>& change) {
  Request request;
  request.prompt = "x";
  request.step_cache = StepCacheOptions{.policy = StepCachePolicy::kEasy};
  change(request);
  try {
    resolve_recipe(request, shapes());
  } catch (const Error& error) {
    CHECK(error.kind() == ErrorKind::kUsage);
    return error.what();
  }
  return "";
}

int64_t count_kept(const sched::StepCacheRules& rules, int64_t begin, int64_t end) {
  return std::count(rules.kept.begin() + begin, rules.kept.begin() + end, true);
}

}  // namespace

TEST_CASE("mag skips the steps that were published") {
  CHECK(mask("Wan2.1-T2V-1.3B", k13B, 50) == "11111111110000100001000010000100001000100100101011");
  CHECK(mask("Wan2.1-T2V-1.3B", k13B, 50, 2) ==
        "11111111110010010010010010010010010010010010101011");
  CHECK(mask("Wan2.1-T2V-14B", k14B, 50) == "11111111110000001000000100000010000010000100100101");
  CHECK(mask("Wan2.2-T2V-A14B", kA14B, 26) == "1111111111001001001001001011111101010111");
}

TEST_CASE("easy keeps the steps of the table, and the share of other numbers of steps") {
  const auto kept = [](const std::string& model, int64_t boundary, int64_t steps) {
    const auto rules = make_rules({.policy = StepCachePolicy::kEasy, .threshold = 0.05},
                                  step_cache_tuning(model), {steps, boundary});
    CHECK(rules.kept.back());
    CHECK(rules.expert_begins[0]);
    if (boundary < steps) CHECK(rules.expert_begins[static_cast<size_t>(boundary)]);
    return std::pair(count_kept(rules, 0, boundary),
                     boundary < steps ? count_kept(rules, boundary, steps - 1) : 0);
  };
  CHECK(kept("Wan2.1-T2V-1.3B", 50, 50).first == 10 + 1);
  CHECK(kept("Wan2.2-T2V-A14B", 26, 40) == std::pair<int64_t, int64_t>(10, 2));
  CHECK(kept("Wan2.2-I2V-A14B", 15, 40) == std::pair<int64_t, int64_t>(6, 3));
  CHECK(kept("", 10, 20) == std::pair<int64_t, int64_t>(2, 2));
  CHECK(kept("", 9, 9).first == 2 + 1);
}

TEST_CASE("image-to-video of two experts leaves out nothing before the switch") {
  const auto rules = make_rules({.policy = StepCachePolicy::kMag, .threshold = 0.06},
                                step_cache_tuning("Wan2.2-I2V-A14B"), {40, 15});
  CHECK(count_kept(rules, 0, 15) == 15);
  CHECK(count_kept(rules, 15, 39) == 3);
}

TEST_CASE("a table of other steps is read at the nearest place of each expert") {
  StepCacheTable table;
  table.cond = {1, .9, .8, .7, 1, .6, .5};
  table.boundary = 4;
  CHECK(stretch_ratios(table, 7, 4) == table.cond);
  CHECK(stretch_ratios(table, 4, 2) == std::vector<double>{1, .7, 1, .5});
  CHECK(stretch_ratios(table, 10, 7) == std::vector<double>{1, .9, .9, .8, .8, .7, .7, 1, .6, .5});
  CHECK(stretch_ratios(table, 3, 3) == std::vector<double>{1, .8, .7});
  table.boundary = 7;
  CHECK_THROWS_AS(stretch_ratios(table, 7, 4), Error);
}

TEST_CASE("runs whose steps are too few, distilled or causal are refused") {
  CHECK(refusal([](Request&) {}).empty());
  CHECK_THAT(refusal([](Request& r) { r.steps = 8; }), Contains("8 steps are too few"));
  CHECK(refusal([](Request& r) { r.steps = 9; }).empty());
  CHECK_THAT(refusal([](Request& r) { r.preset = "causvid-lora"; }), Contains("distilled"));
  CHECK_THAT(
      refusal([](Request& r) { r.t_list = {999, 900, 800, 700, 600, 500, 400, 300, 200, 100}; }),
      Contains("--t-list"));
}

TEST_CASE("a table is written and read whole; one of other weights is refused") {
  const std::string path = (fs::path(T2V_BINARY_DIR) / "tests/step_cache_table.json").string();
  StepCacheTable table{.model = "shapes",
                       .model_hash = transformer_hash(shapes()),
                       .solver = "unipc",
                       .sigma_table = "diffusers",
                       .shift = 3,
                       .boundary = 1,
                       .cond = {1, 0.1234567890123456},
                       .uncond = {}};
  write_step_cache_table(path, table);
  const StepCacheTable again = read_step_cache_table(path, shapes());
  CHECK(again.cond == table.cond);
  CHECK(again.boundary == 1);
  CHECK(again.shift == 3);
  Recipe recipe = resolve_recipe({.prompt = "x"}, shapes());
  recipe.step_cache = {.policy = StepCachePolicy::kMag, .threshold = 0.1, .table_path = path};
  CHECK(step_cache_warning(recipe, shapes()).empty());
  const std::string before = step_cache_digest(recipe, shapes());
  table.cond[1] = 0.9;
  table.shift = 5;
  write_step_cache_table(path, table);
  CHECK(step_cache_digest(recipe, shapes()) != before);
  CHECK_THAT(step_cache_warning(recipe, shapes()), Contains("shift 5, not unipc and 3"));
  table.model_hash = "0";
  write_step_cache_table(path, table);
  CHECK_THROWS_WITH(read_step_cache_table(path, shapes()), Contains("other weights"));
  CHECK_THROWS_AS(read_step_cache_table("/nowhere/table.json", shapes()), Error);
  for (const char* broken : {"", "{}", "{\"steps\": 3}", "[1]"}) {
    std::ofstream(path) << broken;
    try {
      read_step_cache_table(path, shapes());
      FAIL("accepted: " << broken);
    } catch (const Error& error) {
      CHECK(error.kind() == ErrorKind::kInput);
    }
  }
}
