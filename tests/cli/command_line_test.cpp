#include "cli/command_line.h"

#include <catch2/catch.hpp>
#include <set>
#include <string>

#include "cli/options.h"
#include "core/check.h"
#include "t2v/error.h"

namespace t2v::cli {
namespace {

std::string message_of(const Problems& problems) {
  try {
    problems.throw_if_any();
  } catch (const Error& error) {
    return error.what();
  }
  return "";
}

Request request_of(const std::vector<std::string>& arguments, std::string* problem_text = nullptr) {
  Problems problems;
  const CommandLine line = parse_command_line(arguments, problems);
  const Request request = read_request(Flags(line.settings, problems));
  if (problem_text)
    *problem_text = message_of(problems);
  else
    CHECK(message_of(problems).empty());
  return request;
}

TEST_CASE("every name of the table is unique within a command") {
  for (const Command& command : commands()) {
    std::set<std::string> names;
    std::set<char> letters;
    for (const Flag& flag : flags()) {
      CAPTURE(command.name, flag.name);
      if ((flag.commands & command.bit) == 0) continue;
      CHECK((flag.letter == 0 || letters.insert(flag.letter).second));
      for_each_name(core::str(flag.name, " ", flag.aliases), [&](std::string_view name) {
        CHECK(names.insert(std::string(name)).second);
        CHECK(find_flag(name, command.bit) == &flag);
      });
    }
  }
}

TEST_CASE("a name that two commands use differently is the command's own") {
  CHECK(find_flag("preview", kDecode)->arity == Arity::kSwitch);
  CHECK(find_flag("preview", kGenerate)->arity == Arity::kValue);
}

TEST_CASE("hyphens, underscores and aliases are one flag") {
  for (const char* name :
       {"--steps", "--sample_steps", "--sample-steps", "--num_inference_steps"}) {
    CAPTURE(name);
    CHECK(request_of({"generate", name, "7"}).steps == 7);
    CHECK(request_of({"generate", std::string(name) + "=7"}).steps == 7);
  }
}

TEST_CASE("short forms") {
  CHECK(request_of({"generate", "-s64x32", "-f", "5"}).height == 32);
  CHECK(request_of({"generate", "-n", ""}).negative_prompt == "");
  CHECK(request_of({"generate", "-n", "--steps"}).negative_prompt == "--steps");
}

TEST_CASE("the last of a flag wins") {
  CHECK(request_of({"generate", "--seed", "1", "--seed", "2"}).seed == 2);
}

TEST_CASE("conflicts and bad values are told together") {
  std::string text;
  request_of(
      {"generate", "-s", "64x64", "-W", "32", "--steps", "x", "--frames", "5", "--seconds", "2"},
      &text);
  CHECK(text.find("--size") != std::string::npos);
  CHECK(text.find("--steps") != std::string::npos);
  CHECK(text.find("--seconds") != std::string::npos);
}

TEST_CASE("flags of other commands are told apart from typing errors") {
  const auto told = [](const std::vector<std::string>& arguments) {
    Problems problems;
    parse_command_line(arguments, problems);
    return message_of(problems);
  };
  CHECK(told({"presets", "--steps", "3"}).find("not a flag of") != std::string::npos);
  CHECK(told({"generate", "--quant", "none"}).empty());
  CHECK(told({"generate", "--quant", "int8"}).empty());
  CHECK(told({"generate", "--stpes", "3"}).find("did you mean --steps?") != std::string::npos);
  CHECK(told({"generate", "--guidance", "3"}).find("did you mean --guidance-scale?") !=
        std::string::npos);
  CHECK(told({"generate", "--guidance_scale_2", "3"}).find("--guidance-scale-low") !=
        std::string::npos);
  CHECK(told({"generate", "--zzzzzz"}).find("did you mean") == std::string::npos);
}

TEST_CASE("a higher origin replaces sides of a size") {
  Problems problems;
  const Flag* size = find_flag("size");
  const Flag* width = find_flag("width");
  const std::vector<Setting> settings = {
      {.flag = size, .value = "64x32", .where = "c", .origin = Origin::kConfig},
      {.flag = width, .value = "128", .where = "l", .origin = Origin::kCommandLine}};
  const Request request = read_request(Flags(settings, problems));
  CHECK(request.width == 128);
  CHECK(request.height == 32);
  CHECK(problems.empty());
}

}  // namespace
}  // namespace t2v::cli
