// The Prometheus text file: read back by the rules of its format.
#include <catch2/catch.hpp>
#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <map>
#include <regex>
#include <set>
#include <sstream>
#include <vector>

#include "cli/metrics_file.h"
#include "core/counters.h"

namespace t2v::cli {
namespace {

namespace fs = std::filesystem;

// Samples by name and labels as they stand in the file; types by name.
struct Exposition {
  std::map<std::string, double> samples;
  std::map<std::string, std::string> types;
  std::set<std::string> helps;
};

// Throws std::runtime_error for a line that is none of the format.
Exposition parse(const std::string& text) {
  static const std::regex sample(
      R"re(([a-zA-Z_:][a-zA-Z0-9_:]*)(\{([a-zA-Z_][a-zA-Z0-9_]*="([^"\\\n]|\\["\\n])*",?)*\})? (\S+)( -?\d+)?)re");
  static const std::regex help(R"re(# HELP ([a-zA-Z_:][a-zA-Z0-9_:]*) .*)re");
  static const std::regex type(
      R"re(# TYPE ([a-zA-Z_:][a-zA-Z0-9_:]*) (counter|gauge|histogram|summary|untyped))re");
  Exposition all;
  if (text.empty() || text.back() != '\n') throw std::runtime_error("no line end at the end");
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) {
    std::smatch found;
    if (std::regex_match(line, found, help)) {
      all.helps.insert(found[1]);
    } else if (std::regex_match(line, found, type)) {
      if (!all.types.emplace(found[1], found[2]).second)
        throw std::runtime_error("TYPE twice: " + line);
    } else if (std::regex_match(line, found, sample)) {
      char* end = nullptr;
      const std::string number = found[5];
      const double value = std::strtod(number.c_str(), &end);
      if (*end != 0) throw std::runtime_error("no number: " + line);
      if (!all.samples.emplace(found[1].str() + found[2].str(), value).second)
        throw std::runtime_error("twice: " + line);
    } else if (!line.empty()) {
      throw std::runtime_error("no line of the format: " + line);
    }
  }
  return all;
}

std::string text_of(const fs::path& path) {
  std::ifstream file(path);
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

Report sample(double total_ms) {
  Report report;
  report.model = "Model \"with\" \\ odd\nname";
  report.device = "CPU";
  report.total_ms = total_ms;
  report.first_step_ms = total_ms / 2;
  report.stages = {{.stage = Stage::kDenoise, .wall_ms = 40},
                   {.stage = Stage::kVaeDecode, .wall_ms = 20}};
  report.steps.resize(2);
  report.steps[1].predicted = true;
  report.steps[0].wall_ms = report.steps[1].wall_ms = 20;
  report.weights.bytes = 1000;
  report.conditions = {.text_hits = 1, .text_misses = 2, .key_hits = 3, .key_misses = 4};
  report.host_peak_bytes = 5000;
  return report;
}

struct Folder {
  Folder() : path(fs::temp_directory_path() / ("t2v-metrics-" + std::to_string(::getpid()))) {
    fs::create_directories(path);
  }
  ~Folder() { fs::remove_all(path); }
  fs::path path;
};

TEST_CASE("the metrics file follows the format and counts what has happened") {
  const Folder folder;
  const fs::path path = folder.path / "t2v.prom";
  MetricsFile metrics(path.string());
  metrics.begin(5);
  CHECK(parse(text_of(path)).samples.at("t2v_queue_videos") == 5);
  const Report first = sample(70);
  const Report second = sample(50'000);
  metrics.add(ItemStatus::kDone, &first);
  metrics.add(ItemStatus::kFailed, nullptr);
  core::count(core::Counter::kBlockCacheHits, 7);
  metrics.add(ItemStatus::kDone, &second);

  const Exposition all = parse(text_of(path));
  const auto at = [&](const std::string& name) {
    CAPTURE(name);
    REQUIRE(all.samples.count(name) == 1);
    return all.samples.at(name);
  };
  CHECK(at("t2v_videos_total{status=\"done\"}") == 2);
  CHECK(at("t2v_videos_total{status=\"failed\"}") == 1);
  CHECK(at("t2v_videos_total{status=\"skipped\"}") == 0);
  CHECK(at("t2v_queue_videos") == 2);
  CHECK(at("t2v_video_seconds_count") == 2);
  CHECK(at("t2v_video_seconds_sum") == Approx(50.07));
  CHECK(at("t2v_video_seconds_bucket{le=\"0.1\"}") == 1);
  CHECK(at("t2v_video_seconds_bucket{le=\"30\"}") == 1);
  CHECK(at("t2v_video_seconds_bucket{le=\"60\"}") == 2);
  CHECK(at("t2v_video_seconds_bucket{le=\"+Inf\"}") == 2);
  CHECK(at("t2v_first_step_seconds_count") == 2);
  CHECK(at("t2v_stage_seconds_count{stage=\"denoise\"}") == 2);
  CHECK(at("t2v_stage_seconds_sum{stage=\"vae_decode\"}") == Approx(0.04));
  CHECK(at("t2v_step_seconds_count{kind=\"predicted\"}") == 2);
  CHECK(at("t2v_condition_cache_lookups_total{kind=\"keys\",result=\"hit\"}") == 6);
  CHECK(at("t2v_condition_cache_lookups_total{kind=\"text\",result=\"miss\"}") == 4);
  CHECK(at("t2v_block_cache_reads_total{result=\"hit\"}") >= 7);
  CHECK(at("t2v_weight_bytes_read_total") == 2000);
  CHECK(at("t2v_host_memory_peak_bytes") == 5000);
  CHECK(all.types.at("t2v_videos_total") == "counter");
  CHECK(all.types.at("t2v_video_seconds") == "histogram");
  CHECK(all.types.at("t2v_queue_videos") == "gauge");
  for (const auto& [name, type] : all.types) CHECK(all.helps.count(name) == 1);
  // One build info, with the odd name escaped.
  size_t builds = 0;
  for (const auto& [name, value] : all.samples)
    builds += name.starts_with("t2v_build_info{") ? 1 : 0;
  CHECK(builds == 1);
}

TEST_CASE("buckets of a histogram never fall") {
  const Folder folder;
  const fs::path path = folder.path / "t2v.prom";
  MetricsFile metrics(path.string());
  metrics.begin(9);
  for (const double ms : {1.0, 99.0, 101.0, 5e3, 7e6, 1e9}) {
    const Report report = sample(ms);
    metrics.add(ItemStatus::kDone, &report);
  }
  std::istringstream lines(text_of(path));
  double last = -1;
  int seen = 0;
  for (std::string line; std::getline(lines, line);) {
    if (!line.starts_with("t2v_video_seconds_bucket")) continue;
    const double value = std::strtod(line.substr(line.rfind(' ')).c_str(), nullptr);
    CHECK(value >= last);
    last = value;
    ++seen;
  }
  CHECK(seen == 17);
  CHECK(last == 6);
}

TEST_CASE("the file is whole at any time, and nothing is left beside it") {
  const Folder folder;
  const fs::path path = folder.path / "t2v.prom";
  MetricsFile metrics(path.string());
  metrics.begin(1);
  metrics.add(ItemStatus::kRefused, nullptr);
  size_t files = 0;
  for (const auto& entry : fs::directory_iterator(folder.path)) {
    static_cast<void>(entry);
    ++files;
  }
  CHECK(files == 1);
  MetricsFile nowhere((folder.path / "absent" / "t2v.prom").string());
  CHECK_THROWS_AS(nowhere.begin(1), Error);
  MetricsFile none("");
  none.begin(1);
  none.add(ItemStatus::kDone, nullptr);
}

TEST_CASE("the parser of this test refuses what is not of the format") {
  CHECK_THROWS(parse("a 1"));
  CHECK_THROWS(parse("a{b=c} 1\n"));
  CHECK_THROWS(parse("a x\n"));
  CHECK_THROWS(parse("a 1\na 2\n"));
  CHECK_THROWS(parse("1a 1\n"));
  CHECK(parse("a{b=\"c\\\"\"} 1e3\n").samples.size() == 1);
}

}  // namespace
}  // namespace t2v::cli
