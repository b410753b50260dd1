#include "cli/sampling_words.h"

#include <catch2/catch.hpp>

using namespace t2v;
using namespace t2v::cli;

TEST_CASE("lists of timesteps are read whole, and written so that they read back") {
  std::string why;
  CHECK(parse_t_list("1000,937.5,0", why) == std::vector<double>{1000, 937.5, 0});
  CHECK(parse_t_list("0.5", why) == std::vector<double>{0.5});
  const std::vector<double> thirds = {1000, 2500.0 / 3, 1.0 / 3};
  CHECK(parse_t_list(t_list_text(thirds), why) == thirds);
  for (const char* bad : {"", ",", "1000,", ",1000", "1000,,500", "500,1000", "500,500", "1001",
                          "-1", "0", "nan", "1000;500", "1e400", "1000, 500", "a"}) {
    CAPTURE(bad);
    why.clear();
    CHECK_FALSE(parse_t_list(bad, why));
    CHECK_FALSE(why.empty());
  }
}

TEST_CASE("step cache modes with thresholds and files") {
  const auto read = [](const char* text) {
    std::string why;
    const auto options = parse_step_cache(text, why);
    return options ? step_cache_text(*options) : std::string("?");
  };
  for (const char* same : {"off", "easy", "easy:0.05", "mag", "mag:0.12", "mag:table.json",
                           "mag:0.12:table.json", "mag:/a/b:c.json"})
    CHECK(read(same) == same);
  CHECK(read("easy:0") == "off");
  CHECK(read("mag:0.0:table.json") == "off");
  CHECK(read("mag:.5") == "mag:0.5");
  for (const char* bad : {"", "on", "easy:", "easy:x", "easy:-1", "easy:nan", "easy:0.1:file",
                          "mag:", "mag:0.1:", "mag:101", "off:1", "Easy"}) {
    CAPTURE(bad);
    CHECK(read(bad) == "?");
  }
}
