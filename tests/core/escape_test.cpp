#include "core/escape.h"

#include <catch2/catch.hpp>

#include "core/utf8.h"

using namespace t2v::core;

TEST_CASE("control bytes become visible, text stays") {
  CHECK(escape_control("plain text, 中文 🙂") == "plain text, 中文 🙂");
  CHECK(escape_control("a\nb\tc\r") == "a\\nb\\tc\\r");
  CHECK(escape_control("\x1b[31mred\x7f") == "\\x1b[31mred\\x7f");
  CHECK(escape_control(std::string("a\0b", 3)) == "a\\x00b");
  CHECK(escape_control("\xc2\x9b") == "\\xc2\\x9b");  // C1 control
  CHECK(escape_control("\xff\xc3") == "\\xff\\xc3");  // not UTF-8
  CHECK(escape_control(std::string(100, 'x'), 10) == std::string(10, 'x') + "...");
}

TEST_CASE("UTF-8 is checked as the standard has it") {
  CHECK(find_invalid_utf8("äöü 中文 🙂") == std::string_view::npos);
  CHECK(find_invalid_utf8("ab\xff") == 2);
  CHECK(find_invalid_utf8("\xc0\xaf") == 0);          // overlong
  CHECK(find_invalid_utf8("\xed\xa0\x80") == 0);      // surrogate
  CHECK(find_invalid_utf8("\xf4\x90\x80\x80") == 0);  // past U+10FFFF
  CHECK(find_invalid_utf8("x\xe4\xb8") == 1);         // cut short
}
