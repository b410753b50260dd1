#include "cli/prompt_at.h"

#include <catch2/catch.hpp>

using namespace t2v;
using namespace t2v::cli;

namespace {

std::string refusal(std::string_view text) {
  std::string why;
  return parse_prompt_at(text, why) ? "" : why;
}

PromptAt parsed(std::string_view text) {
  std::string why;
  return parse_prompt_at(text, why).value();
}

}  // namespace

TEST_CASE("a time and a prompt, in seconds or minutes") {
  CHECK(parsed("5s:a blue square").seconds == 5);
  CHECK(parsed("5s:a blue square").prompt == "a blue square");
  CHECK(parsed("2.5:x").seconds == 2.5);
  CHECK(parsed("0s:x").seconds == 0);
  CHECK(parsed("1:30:a: b").seconds == 90);
  CHECK(parsed("1:30:a: b").prompt == "a: b");
  CHECK(parsed("5s:30:a").prompt == "30:a");
  CHECK(parsed("5:3 squares: red").prompt == "3 squares: red");
}

TEST_CASE("times and texts that are missing are refused") {
  for (const char* text : {"", "a blue square", ":x", "s:x", "-1s:x", "nan:x", "inf:x", "1e400:x"})
    CHECK(refusal(text).find("no time") != std::string::npos);
  for (const char* text : {"5s:", "5s:  ", "1:30:"})
    CHECK(refusal(text).find("no text") != std::string::npos);
}

TEST_CASE("written in one form that reads back") {
  for (const char* text : {"5s:a blue square", "1:30:x: y", "0.125:x"}) {
    const PromptAt change = parsed(text);
    CHECK(parsed(prompt_at_text(change)).seconds == change.seconds);
    CHECK(parsed(prompt_at_text(change)).prompt == change.prompt);
  }
}
