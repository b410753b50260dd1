#include "cli/bench_report.h"

#include <algorithm>
#include <array>
#include <cstdio>
#include <functional>
#include <map>
#include <nlohmann/json.hpp>

#include "cli/problems.h"
#include "cli/text_file.h"
#include "core/check.h"
#include "t2v/version.h"

namespace t2v::cli {
namespace {

using core::str;
using Json = nlohmann::ordered_json;

constexpr const char* kFormat = "t2v-bench";
constexpr int kVersionOfFormat = 1;
constexpr size_t kMaxFileBytes = size_t{16} << 20;
constexpr double kLeastMs = 0.05;  // shown as 0.0

Json spread_json(std::vector<double> values) {
  if (values.empty()) return nullptr;
  std::sort(values.begin(), values.end());
  const size_t half = values.size() / 2;
  const double median =
      values.size() % 2 == 1 ? values[half] : (values[half - 1] + values[half]) / 2;
  return {{"median", median},
          {"low", values.front()},
          {"high", values.back()},
          {"count", values.size()}};
}

Json spread_of(const std::vector<Report>& reports,
               const std::function<double(const Report&)>& number) {
  std::vector<double> values;
  values.reserve(reports.size());
  for (const Report& report : reports) values.push_back(number(report));
  return spread_json(values);
}

// Names in the order of their first appearance.
Json stages_json(const std::vector<Report>& reports) {
  Json stages = Json::object();
  for (const Report& report : reports) {
    for (const StageTime& stage : report.stages) {
      const char* name = stage_name(stage.stage);
      if (stages.contains(name)) continue;
      std::vector<double> times;
      for (const Report& other : reports) {
        for (const StageTime& time : other.stages)
          if (time.stage == stage.stage) times.push_back(time.wall_ms);
      }
      stages[name] = spread_json(times);
    }
  }
  return stages;
}

// Of all steps but each video's first, which waits for weights; of all when there is but one.
Json steps_json(const std::vector<Report>& reports) {
  std::map<std::string, std::vector<double>> by_expert;
  std::vector<double> all;
  for (const Report& report : reports) {
    for (const StepTime& step : report.steps) {
      if (step.index == 0 && report.steps.size() > 1) continue;
      all.push_back(step.wall_ms);
      if (!step.expert.empty()) by_expert[step.expert].push_back(step.wall_ms);
    }
  }
  Json json = {{"all", spread_json(all)}};
  for (auto& [expert, times] : by_expert) json[expert] = spread_json(times);
  return json;
}

Json settings_json(const Recipe& recipe) {
  return {{"width", recipe.width},
          {"height", recipe.height},
          {"frames", recipe.frames},
          {"steps", recipe.steps},
          {"solver", solver_name(recipe.solver)},
          {"guidance_scale_high", recipe.guidance_scale.high_noise},
          {"guidance_scale_low", recipe.guidance_scale.low_noise},
          {"seed", recipe.seed}};
}

// Every number that may be compared, by name; smaller is better for all but rates.
std::vector<std::pair<std::string, double>> metrics_of(const Json& result) {
  std::vector<std::pair<std::string, double>> metrics;
  const auto add = [&](const std::string& name, const Json& value) {
    if (value.is_object() && value.contains("median") && value["median"].is_number())
      metrics.emplace_back(name, value["median"].get<double>());
    if (value.is_number()) metrics.emplace_back(name, value.get<double>());
  };
  const auto add_all = [&](const char* key, const std::string& prefix) {
    if (!result.contains(key) || !result[key].is_object()) return;
    for (const auto& [name, value] : result[key].items()) add(prefix + name, value);
  };
  for (const char* key : {"total_ms", "first_step_ms"})
    if (result.contains(key)) add(key, result[key]);
  add_all("step_ms", "step_ms.");
  add_all("stages_ms", "stages_ms.");
  add_all("weights", "weights.");
  add_all("compute", "compute.");
  add_all("memory", "memory.");
  return metrics;
}

std::string row(const std::string& name, const std::array<std::string, 4>& cells) {
  std::string text = name;
  text.resize(std::max<size_t>(text.size() + 1, 29), ' ');
  for (const std::string& cell : cells)
    text += str(std::string(cell.size() < 12 ? 12 - cell.size() : 1, ' '), cell);
  while (text.ends_with(' ')) text.pop_back();
  return text + "\n";
}

std::string fixed(double value, int digits) {
  std::array<char, 48> text{};
  std::snprintf(text.data(), text.size(), "%.*f", digits, value);
  return text.data();
}

std::string ratio_text(const Json& ratios, const std::string& name) {
  if (!ratios.is_object() || !ratios.contains(name)) return "";
  return fixed(ratios[name].get<double>(), 3);
}

std::string spaced(std::string name) {
  std::replace(name.begin(), name.end(), '_', ' ');
  return name;
}

// words: before each name; "" for none. No ratio of what is next to nothing.
std::string spread_rows(const Json& object, const std::string& words, const std::string& prefix,
                        const Json& ratios) {
  std::string text;
  for (const auto& [name, value] : object.items()) {
    if (!value.is_object()) continue;
    const double median = value["median"];
    text += row(words + spaced(name),
                {fixed(median, 1), fixed(value["low"], 1), fixed(value["high"], 1),
                 median < kLeastMs ? "" : ratio_text(ratios, prefix + name)});
  }
  return text;
}

// Of denoising, and what of the matrix peak that is.
Json compute_json(const std::vector<Report>& reports) {
  const double peak = reports.back().peak_flop_per_s;
  Json rate = spread_of(reports, [](const Report& r) { return r.denoise_flop_per_s; });
  const double median = rate["median"];
  return {{"flop_per_s", std::move(rate)},
          {"peak_flop_per_s", peak},
          {"share_of_peak", peak > 0 ? Json(median / peak) : Json(nullptr)}};
}

}  // namespace

Json bench_json(const BenchRuns& runs) {
  const Report& last = runs.repeats.back();
  int64_t host = 0;
  int64_t device = 0;
  for (const auto* reports : {&runs.warmups, &runs.repeats}) {
    for (const Report& report : *reports) {
      host = std::max(host, report.host_peak_bytes);
      device = std::max(device, report.device_peak_bytes);
    }
  }
  const Report& first = runs.warmups.empty() ? runs.repeats.front() : runs.warmups.front();
  const auto traffic = [&](double WeightTraffic::*member) {
    return spread_of(runs.repeats, [&](const Report& r) { return r.weights.*member; });
  };
  return {
      {"format", kFormat},
      {"version", kVersionOfFormat},
      {"t2v", kVersion},
      {"model", last.model},
      {"device", last.device},
      {"preset", runs.preset},
      {"random_weights", runs.random_weights},
      {"settings", settings_json(last.recipe)},
      {"warmup", runs.warmups.size()},
      {"repeats", runs.repeats.size()},
      {"first_video",
       {{"total_ms", first.total_ms},
        {"first_step_ms", first.first_step_ms},
        {"gb_per_s", first.weights.gb_per_s},
        {"bytes_read", first.weights.bytes}}},
      {"total_ms", spread_of(runs.repeats, [](const Report& r) { return r.total_ms; })},
      {"first_step_ms", spread_of(runs.repeats, [](const Report& r) { return r.first_step_ms; })},
      {"step_ms", steps_json(runs.repeats)},
      {"stages_ms", stages_json(runs.repeats)},
      {"weights",
       {{"gb_per_s", traffic(&WeightTraffic::gb_per_s)},
        {"stall_ms", traffic(&WeightTraffic::stall_ms)},
        {"expert_switch_ms", traffic(&WeightTraffic::expert_switch_ms)}}},
      {"memory", {{"host_peak", host}, {"device_peak", device}}},
      {"compute", compute_json(runs.repeats)}};
}

Json read_bench_file(const std::string& path) {
  const std::string text = read_text_file(path, kMaxFileBytes, "benchmark result");
  Json json = Json::parse(text, nullptr, /*allow_exceptions=*/false);
  T2V_REQUIRE(json.is_object() && json.value("format", Json()) == kFormat, ErrorKind::kInput,
              "--compare: the file is no result of t2v bench (", quoted(path), ")");
  T2V_REQUIRE(json.value("version", Json()) == kVersionOfFormat, ErrorKind::kInput,
              "--compare: the file has another version, expected ", kVersionOfFormat, " (",
              quoted(path), "); try to measure again");
  return json;
}

Json bench_ratios(const Json& now, const Json& before) {
  const auto old = metrics_of(before);
  Json ratios = Json::object();
  for (const auto& [name, value] : metrics_of(now)) {
    const auto found = std::find_if(old.begin(), old.end(), [&wanted = name](const auto& metric) {
      return metric.first == wanted;
    });
    if (found != old.end() && found->second > 0) ratios[name] = value / found->second;
  }
  return ratios;
}

std::string bench_differences(const Json& now, const Json& before) {
  std::string names;
  const auto compare = [&](const Json& a, const Json& b, const std::string& key) {
    if (a.value(key, Json()) != b.value(key, Json())) names += (names.empty() ? "" : ", ") + key;
  };
  for (const char* key : {"model", "device", "random_weights"}) compare(now, before, key);
  const Json old = before.value("settings", Json::object());
  if (!old.is_object()) return names;
  for (const auto& [key, value] : now["settings"].items()) compare(now["settings"], old, key);
  return names;
}

std::string bench_table(const Json& result, const Json& ratios) {
  const Json& s = result["settings"];
  std::string text =
      str(result["model"].get<std::string>(), " on ", result["device"].get<std::string>(),
          result["random_weights"].get<bool>() ? ", random weights" : "", "\n");
  text += str(s["width"], "x", s["height"], ", ", s["frames"], " frames, ", s["steps"], " steps, ",
              result["repeats"], " repeats after ", result["warmup"], "\n\n");
  text += row("milliseconds", {"median", "fastest", "slowest", ratios.is_null() ? "" : "ratio"});
  for (const auto& [name, words] :
       {std::pair{"total_ms", "total"}, {"first_step_ms", "to the end of the first step"}}) {
    const Json& value = result[name];
    text += row(words, {fixed(value["median"], 1), fixed(value["low"], 1), fixed(value["high"], 1),
                        ratio_text(ratios, name)});
  }
  text += spread_rows(result["step_ms"], "step, ", "step_ms.", ratios);
  text += spread_rows(result["stages_ms"], "", "stages_ms.", ratios);
  text += "\n";
  const Json& speed = result["weights"]["gb_per_s"];
  text +=
      row("weights read, GB/s", {fixed(speed["median"], 2), fixed(speed["low"], 2),
                                 fixed(speed["high"], 2), ratio_text(ratios, "weights.gb_per_s")});
  text += row("first video's weights, GB/s",
              {fixed(result["first_video"]["gb_per_s"].get<double>(), 2), "", "", ""});
  const Json& rate = result["compute"]["flop_per_s"];
  text +=
      row("denoising, GFLOP/s",
          {fixed(rate["median"].get<double>() / 1e9, 1), fixed(rate["low"].get<double>() / 1e9, 1),
           fixed(rate["high"].get<double>() / 1e9, 1), ratio_text(ratios, "compute.flop_per_s")});
  if (const Json& share = result["compute"]["share_of_peak"]; share.is_number())
    text += row("share of the matrix peak", {fixed(share.get<double>(), 3), "", "",
                                             ratio_text(ratios, "compute.share_of_peak")});
  for (const char* key : {"host_peak", "device_peak"}) {
    const double bytes = result["memory"][key];
    text += row(str(spaced(key), ", GB"),
                {fixed(bytes / 1e9, 2), "", "", ratio_text(ratios, str("memory.", key))});
  }
  if (!ratios.is_null()) text += "\nratio: the median of this run by that of the earlier one\n";
  return text;
}

}  // namespace t2v::cli
