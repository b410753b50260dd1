#include "cli/report.h"

#include <catch2/catch.hpp>
#include <nlohmann/json.hpp>

#include "cli/console.h"
#include "cli/profile_json.h"
#include "cli/summary.h"

namespace t2v::cli {
namespace {

Report sample() {
  Report report;
  report.recipe.prompt = "secret words";
  report.recipe.width = 64;
  report.recipe.height = 32;
  report.recipe.steps = 4;
  report.recipe.seed = 18446744073709551615u;
  report.stages = {{.stage = Stage::kDenoise, .start_ms = 1.5, .wall_ms = 2.5, .bytes_read = 4}};
  report.steps = {{.index = 0, .expert = "low_noise", .timestep = 999, .wall_ms = 1}};
  report.total_ms = 61000;
  report.host_peak_bytes = 3 << 20;
  return report;
}

TEST_CASE("the summary has the figures and not the prompt") {
  const std::string text = summary_text(sample(), "a\x1b.mp4");
  CHECK(text.find("64x32") != std::string::npos);
  CHECK(text.find("seed 18446744073709551615") != std::string::npos);
  CHECK(text.find("1:01 min") != std::string::npos);
  CHECK(text.find("3.1 MB") != std::string::npos);
  CHECK(text.find("secret") == std::string::npos);
  CHECK(text.find('\x1b') == std::string::npos);
}

TEST_CASE("the profile is one line of JSON") {
  const std::string text = profile_json(sample(), R"({"seed":18446744073709551615})");
  CHECK(text.find('\n') == std::string::npos);
  const auto json = nlohmann::json::parse(text);
  CHECK(json["stages"][0]["name"] == "denoise");
  CHECK(json["steps"][0]["timestep"] == 999);
  CHECK(json["memory"]["host_peak"] == 3 << 20);
  CHECK(json["request"]["seed"] == 18446744073709551615u);
  CHECK(nlohmann::json::parse(join_profiles({text, text})).size() == 2);
}

TEST_CASE("settings are quoted where the config reader needs it") {
  CHECK(settings_text({{"steps", "4"}, {"prompt", "a \"b\" #c"}, {"n", ""}}, "") ==
        "steps = 4\nprompt = \"a \\\"b\\\" #c\"\nn = \"\"\n");
}

TEST_CASE("durations are for people") {
  CHECK(duration_text(0.04) == "0.0 s");
  CHECK(duration_text(59.96) == "1:00 min");
  CHECK(duration_text(3725) == "1:02:05 h");
}

}  // namespace
}  // namespace t2v::cli
