// clean_prompt against ftfy and diffusers (golden.jsonl), and its properties on any bytes.
#include "text/prompt_clean.h"

#include <catch2/catch.hpp>
#include <chrono>
#include <random>

#include "core/utf8.h"
#include "golden.h"
#include "text/html_entities.h"
#include "text/mojibake.h"

namespace t2v::text {
namespace {

std::string repeat(std::string_view part, size_t bytes) {
  std::string out;
  while (out.size() < bytes) out += part;
  return out;
}

TEST_CASE("clean_prompt equals diffusers' cleaning on the golden strings") {
  const auto rows = test::read_golden("golden.jsonl");
  REQUIRE(rows.size() > 800);
  for (const auto& row : rows) {
    CAPTURE(row.strings.at("text"));
    CHECK(clean_prompt(row.strings.at("text")) == row.strings.at("clean"));
  }
}

TEST_CASE("clean_prompt equals diffusers' cleaning on the prompts of the real tokenizer's set") {
  const auto rows = test::read_golden("umt5/golden_ids.jsonl");
  REQUIRE(rows.size() == 736);
  for (const auto& row : rows) {
    CHECK(clean_prompt(row.strings.at("text")) == row.strings.at("clean"));
  }
}

TEST_CASE("each kind of repair") {
  const auto [input, expected] = GENERATE(table<std::string, std::string>({
      {"", ""},
      {" \t\r\n\u3000\u2028 ", ""},
      {"ＡＢＣ　（全角），逗号", "ABC (全角),逗号"},
      {"ｶﾞﾗｽ", "ガラス"},
      {"“it’s” ‘x’", "\"it's\" 'x'"},
      {"ﬁne ﬄ", "fine ffl"},
      {"e\u0301", "é"},
      {"\uFEFFbom\uFEFF", "bom"},
      {"\x1b[1;31mred\x1b[0m", "red"},
      {"a\r\nb\u2029c", "a b c"},
      {"schÃ¶n", "schön"},
      {"voilÃ  le travail", "voilà le travail"},
      {"â€œquotedâ€\u009d", "\"quoted\""},
      {"РџСЂРёРІРµС‚ РјРёСЂ", "Привет мир"},
      {"ÃƒÂ©tÃƒÂ©", "été"},
      {"A &amp;amp; B &lt;", "A & B <"},
      {"<b> &amp; &EACUTE;", "<b> & &EACUTE;"},
      {"&EACUTE;", "É"},
      {"&notit; &#128; &#xD800;", "¬it; € \uFFFD"},
      {"… — ½ Ⅳ x\u200By", "… — ½ Ⅳ x\u200By"},
  }));
  CHECK(clean_prompt(input) == expected);
}

TEST_CASE("invalid UTF-8 becomes U+FFFD") {
  CHECK(clean_prompt("a\xFF\xE4\xBD"
                     "b") ==
        "a\uFFFD\uFFFD"
        "b");
  CHECK(clean_prompt("\xED\xA0\x80") == "\uFFFD\uFFFD\uFFFD");
  CHECK(clean_prompt(std::string_view("\xF0\x9F\x99", 3)) == "\uFFFD");
}

TEST_CASE("any bytes: no crash, the result is UTF-8 with single spaces inside, and one line") {
  std::mt19937 random(20240917);
  const std::string_view alphabet[] = {
      "Ã",    "¶",     "â",      "€", "™", "\xC3",   "\x80",         "&",     "#",
      "x41",  ";",     "amp",    "<", " ", "\n",     "\r",           "\x1b[", "m",
      "ﬁ",    "Ａ",    "\u0301", "’", "Ð", "\u009d", "\xED\xA0\x80", "е",     "🙂",
      "\x1a", "\uFFFD"};
  for (int round = 0; round < 20000; ++round) {
    std::string text;
    const auto length = random() % 24;
    for (size_t i = 0; i < length; ++i) {
      if (round % 2 == 0) text += alphabet[random() % std::size(alphabet)];
      if (round % 2 == 1) text += static_cast<char>(random() % 256);
    }
    const std::string clean = clean_prompt(text);
    CAPTURE(text);
    REQUIRE(core::find_invalid_utf8(clean) == std::string_view::npos);
    REQUIRE(clean.find_first_of("\t\n\r\v\f") == std::string::npos);
    REQUIRE(clean.find("  ") == std::string::npos);
    REQUIRE((clean.empty() || (clean.front() != ' ' && clean.back() != ' ')));
  }
}

TEST_CASE("cleaning a clean prompt changes nothing") {
  for (const auto& row : test::read_golden("umt5/golden_ids.jsonl")) {
    const std::string& clean = row.strings.at("clean");
    if (clean.find('&') == std::string::npos) CHECK(clean_prompt(clean) == clean);
  }
}

TEST_CASE("a prompt of one megabyte is clean in two seconds, whatever is in it") {
  const auto part = GENERATE(as<std::string>(), "a red circle ", "一只猫，", "schÃ¶n ", "&",
                             "&amp;", "&abcdefghijklmnopqrstuvwxyzabcdefg", "\x1b[1", "\n", "<",
                             "\u0301\u0327", "Ж", "â€", "é\n", "\xFF", "&amp;lt;Ã");
  const std::string text = repeat(part, 1 << 20);
  const auto start = std::chrono::steady_clock::now();
  const std::string clean = clean_prompt(text);
  const std::chrono::duration<double> wall = std::chrono::steady_clock::now() - start;
  CAPTURE(part, clean.size());
  CHECK(wall.count() < 2.0 * 5);  // room for a loaded machine and sanitizers
}

}  // namespace
}  // namespace t2v::text
