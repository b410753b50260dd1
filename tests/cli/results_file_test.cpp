#include "cli/results_file.h"

#include <sys/wait.h>
#include <unistd.h>

#include <catch2/catch.hpp>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "cli/content_hash.h"
#include "cli/resume.h"

namespace t2v::cli {
namespace {

namespace fs = std::filesystem;

struct Scratch {
  fs::path path = fs::temp_directory_path() / ("t2v-results-" + std::to_string(::getpid()));
  Scratch() { fs::create_directories(path); }
  ~Scratch() { fs::remove_all(path); }
};

TEST_CASE("SHA-256 of FIPS 180-4") {
  CHECK(hash_of_text("") == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  CHECK(hash_of_text("abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  CHECK(hash_of_text("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq") ==
        "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
  CHECK(hash_of_text(std::string(1000000, 'a')) ==
        "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
  ContentHash pieces;
  for (int i = 0; i < 1000; ++i) pieces.add(std::string(1000, 'a'));
  CHECK(pieces.finish() == hash_of_text(std::string(1000000, 'a')));
}

TEST_CASE("a recipe's hash does not hang on the order of its keys") {
  CHECK(recipe_hash_of(R"({"a":1,"b":"x"})", {}) == recipe_hash_of(R"({"b": "x", "a": 1})", {}));
  CHECK(recipe_hash_of(R"({"a":1})", {}) != recipe_hash_of(R"({"a":2})", {}));
  CHECK(recipe_hash_of(R"({"a":1})", {}) == hash_of_text(R"({"a":1})"));
  CHECK(recipe_hash_of(R"({"a":1})", {}) != recipe_hash_of(R"({"a":1})", {.crf = 20}));
}

TEST_CASE("an embedded recipe has the video file's flags where they are not the defaults") {
  const std::string recipe = R"({"a":1})";
  CHECK(is_same_recipe(recipe, recipe, {}));
  CHECK(is_same_recipe(R"({"a":1,"crf":30})", recipe, {.crf = 30}));
  CHECK(is_same_recipe(recipe, recipe, {.crf = 18}));
  CHECK(!is_same_recipe(R"({"a":1,"crf":30})", recipe, {}));
  CHECK(!is_same_recipe(R"({"a":1,"crf":30})", recipe, {.crf = 31}));
  CHECK(!is_same_recipe(R"({"a":2})", recipe, {}));
  CHECK(!is_same_recipe("", recipe, {}));
}

TEST_CASE("a line has what happened") {
  Report report;
  report.stages = {{.stage = Stage::kDenoise, .wall_ms = 2},
                   {.stage = Stage::kDenoise, .wall_ms = 3}};
  report.together = 4;
  ResultLine line;
  line.index = 7;
  line.status = ItemStatus::kFailed;
  line.output = "a\n\xff.mp4";
  line.seed = 18446744073709551615u;
  line.report = &report;
  line.error = Error(ErrorKind::kTimeout, "slow");
  const auto json = nlohmann::json::parse(result_json(line));
  CHECK(json["status"] == "failed");
  CHECK(json["seed"] == 18446744073709551615u);
  CHECK(json["stages"]["denoise"] == 5);
  CHECK(json["together"] == 4);
  CHECK(json["error"]["exit_code"] == 9);
  CHECK(json["error"]["kind"] == "timeout");
  CHECK(json["time"].get<std::string>().back() == 'Z');
}

TEST_CASE("a torn line harms only itself") {
  const Scratch scratch;
  const std::string path = scratch.path / "results.jsonl";
  append_result(path, R"({"index":1,"status":"done","output":"a","seed":5,"bytes":3})");
  std::ofstream(path, std::ios::app) << R"({"index":2,"status":"do)";
  append_result(path, R"({"index":3,"status":"failed","output":"c","seed":"x"})");
  const EarlierResults results = read_results(path);
  CHECK(results.by_index.size() == 2);
  CHECK(results.by_output.at("a").done);
  CHECK(results.by_output.at("a").file.bytes == 3);
  CHECK(!results.by_index.at(3).done);
  CHECK(read_results(scratch.path / "absent").by_index.empty());
}

TEST_CASE("several processes write whole lines into one file") {
  const Scratch scratch;
  const std::string path = scratch.path / "results.jsonl";
  constexpr int kWriters = 4, kLines = 25;
  const std::string filling(20000, 'x');
  for (int w = 0; w < kWriters; ++w) {
    if (::fork() != 0) continue;
    for (int i = 0; i < kLines; ++i)
      append_result(path, R"({"index":)" + std::to_string(w * kLines + i) +
                              R"(,"status":"done","prompt":")" + filling + "\"}");
    ::_exit(0);
  }
  for (int w = 0; w < kWriters; ++w) ::wait(nullptr);
  CHECK(read_results(path).by_index.size() == kWriters * kLines);
}

TEST_CASE("results that cannot be written are an error") {
  CHECK_THROWS_AS(append_result("/dev/full", "{}"), Error);
  CHECK_THROWS_AS(append_result("/absent/folder/x", "{}"), Error);
}

}  // namespace
}  // namespace t2v::cli
