#include "cli/lora_option.h"

#include <catch2/catch.hpp>
#include <string>

namespace t2v::cli {
namespace {

std::string shown(const std::string& text, const std::string& expert = "") {
  std::string why;
  const auto lora = parse_lora(text, expert, why);
  if (!lora) return "refused";
  return lora->path + "|" + lora->expert + "|" + std::to_string(lora->strength).substr(0, 5);
}

TEST_CASE("file, expert and weight") {
  CHECK(shown("a.safetensors") == "a.safetensors||1.000");
  CHECK(shown("a.safetensors:0.75") == "a.safetensors||0.750");
  CHECK(shown("a.safetensors@low") == "a.safetensors|low|1.000");
  CHECK(shown("dir/a.pth@high:-1e-1") == "dir/a.pth|high|-0.10");
  CHECK(shown("a:0", "low") == "a|low|0.000");
  CHECK(shown("a@low:2", "low") == "a|low|2.000");
}

TEST_CASE("colons and at-signs of paths stay") {
  CHECK(shown("s3://bucket/a.safetensors") == "s3://bucket/a.safetensors||1.000");
  CHECK(shown("https://user@host:80/a.safetensors@low:0.5") ==
        "https://user@host:80/a.safetensors|low|0.500");
  CHECK(shown("dir@2:3/a") == "dir@2:3/a||1.000");
  CHECK(shown("a:b.safetensors:2") == "a:b.safetensors||2.000");
  CHECK(shown("a@b.safetensors") == "a@b.safetensors||1.000");
}

TEST_CASE("what is no LoRA") {
  for (const char* text : {"", ":", ":1", "@low", "a:", "a:x", "a:nan", "a:inf", "a:1e400", "a:0x1",
                           "a@", "a@mid", "a@HIGH", "a:0.5@high", "a@high:"}) {
    CAPTURE(text);
    CHECK(shown(text) == "refused");
  }
  CHECK(shown("a@low", "high") == "refused");
}

TEST_CASE("the text of an option reads back") {
  for (const char* text : {"a.safetensors", "a.safetensors@low", "a.safetensors@high:0.8",
                           "a:b.safetensors:1", "s3://b/x.pth@low:-2"}) {
    std::string why;
    const auto lora = parse_lora(text, "", why);
    REQUIRE(lora);
    const auto again = parse_lora(lora_text(*lora), "", why);
    REQUIRE(again);
    CHECK(again->path == lora->path);
    CHECK(again->expert == lora->expert);
    CHECK(again->strength == lora->strength);
  }
}

}  // namespace
}  // namespace t2v::cli
