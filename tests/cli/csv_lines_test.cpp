#include "cli/csv_lines.h"

#include <catch2/catch.hpp>

#include "cli/prompt_lines.h"
#include "t2v/error.h"

namespace t2v::cli {
namespace {

std::string refusal_of(const std::string& text) {
  try {
    read_csv(text, "x.csv");
  } catch (const Error& error) {
    CHECK(error.kind() == ErrorKind::kInput);
    return error.what();
  }
  return "";
}

TEST_CASE("records of RFC 4180") {
  const auto records = read_csv("a,\"b,\"\"c\"\"\r\nd\",\"\",\n\n# no\nlast\r", "x.csv");
  REQUIRE(records.size() == 2);
  const auto& fields = records[0].fields;
  REQUIRE(fields.size() == 4);
  CHECK(fields[0].text == "a");
  CHECK(fields[1].text == "b,\"c\"\r\nd");
  CHECK((fields[2].text.empty() && fields[2].quoted));
  CHECK((fields[3].text.empty() && !fields[3].quoted));
  CHECK(records[1].line == 5);
  CHECK(records[1].fields[0].text == "last");
  CHECK(read_csv("", "x").empty());
}

TEST_CASE("broken records are refused with their line") {
  CHECK(refusal_of("a\n\n\"never closed\n\n").find("line 3") != std::string::npos);
  CHECK(refusal_of("a\n\"x\"y\n").find("line 2") != std::string::npos);
  CHECK(refusal_of("a\n" + std::string(1000, ',')).find("line 2") != std::string::npos);
  CHECK(refusal_of(std::string(999, ',')).empty());
  CHECK(refusal_of("a \"b\" c\n").empty());
}

TEST_CASE("a CSV file's fields are named like flags") {
  const Command& command = *find_command("generate");
  const auto prompts =
      prompts_of_csv("prompt\n", "x.csv", *find_command("tokenize")).size() +
      prompts_of_csv("seed, prompt ,output,negative_prompt\n5,red,a.mp4,\"\"\n,\"# blue\",,\n",
                     "x.csv", command)
          .size();
  CHECK(prompts == 2);
}

TEST_CASE("a CSV file's problems name line and field") {
  const Command& command = *find_command("generate");
  const auto told = [&](const std::string& text) {
    try {
      prompts_of_csv(text, "x.csv", command);
    } catch (const Error& error) {
      return std::string(error.what());
    }
    return std::string();
  };
  CHECK(told("seed\n1\n").find("'prompt' is missing") != std::string::npos);
  CHECK(told("prompt,stpes\nred,1\n").find("did you mean --steps?") != std::string::npos);
  CHECK(told("prompt,steps,sample_steps\n").find("twice") != std::string::npos);
  CHECK(told("prompt,model\n").find("--model cannot be set for one line") != std::string::npos);
  const std::string two = told("prompt,seed\nred\nblue,1,2\n");
  CHECK(two.find("line 2") != std::string::npos);
  CHECK(two.find("line 3") != std::string::npos);
}

}  // namespace
}  // namespace t2v::cli
