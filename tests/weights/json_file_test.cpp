#include "weights/json_file.h"

#include <catch2/catch.hpp>

#include "scratch.h"

using namespace t2v;
using namespace t2v::weights;
using t2v::test::message_of;
using t2v::test::Scratch;
using t2v::test::write_text;

namespace {

JsonFile parsed(const std::string& text) { return JsonFile::parse(text, "m/config.json"); }

std::string refusal(const std::string& text) {
  const std::string message = message_of([&] { parsed(text); });
  if (!message.empty()) CHECK_THAT(message, Catch::Contains("m/config.json"));
  return message;
}

}  // namespace

TEST_CASE("typed getters give what is there") {
  const JsonFile file = parsed(
      R"({"i":3,"n":-2,"d":0.5,"b":true,"s":"x","z":null,"l":[1,2],"f":[1,2.5],"t":[true,false],
          "m":{"a":"1"},"o":{"k":7},"c":["lib",null]})");
  CHECK(file.get_int("i", 1, 3) == 3);
  CHECK(file.get_int("n", -2, 3) == -2);
  CHECK(file.get_double("d", 0, 1) == 0.5);
  CHECK(file.get_double("i", 0, 10) == 3.0);
  CHECK(file.get_bool("b"));
  CHECK(file.get_string("s") == "x");
  CHECK(file.get_int_list("l", 0, 9) == std::vector<int64_t>{1, 2});
  CHECK(file.get_double_list("f", 0, 9) == std::vector<double>{1, 2.5});
  CHECK(file.get_bool_list("t") == std::vector<bool>{true, false});
  CHECK(file.get_string_list("c") == std::vector<std::string>{"lib", ""});
  CHECK(file.get_string_map("m").at("a") == "1");
  CHECK(file.get_object("o").get_int("k", 0, 9) == 7);
  CHECK_FALSE(file.find_int("z", 0, 1).has_value());
  CHECK_FALSE(file.find_string("absent").has_value());
  CHECK(file.contains("z"));
  CHECK_FALSE(file.has_value("z"));
}

TEST_CASE("wrong values name file, key, got and expected") {
  const JsonFile file =
      parsed(R"({"i":3,"d":2.0,"big":1000000000000000000000,"u":18446744073709551615,"s":"x",
                                   "l":[1,-1],"z":null,"o":{"k":"v"}})");
  CHECK(message_of([&] { (void)file.get_int("i", 4, 9); }) ==
        "unusable value: 'i' is 3, expected an integer from 4 to 9 (m/config.json)");
  CHECK_THAT(message_of([&] { (void)file.get_int("d", 0, 9); }), Catch::Contains("'d' is 2.0"));
  CHECK_THAT(message_of([&] { (void)file.get_int("big", 0, 9); }), Catch::Contains("'big'"));
  CHECK_THAT(message_of([&] { (void)file.get_int("u", -1, 9); }),
             Catch::Contains("18446744073709551615"));
  CHECK_THAT(message_of([&] { (void)file.get_int("absent", 0, 9); }),
             Catch::Contains("'absent' is missing"));
  CHECK_THAT(message_of([&] { (void)file.get_int("z", 0, 9); }), Catch::Contains("'z' is null"));
  CHECK_THAT(message_of([&] { (void)file.find_int("s", 0, 9); }), Catch::Contains("'s' is \"x\""));
  CHECK_THAT(message_of([&] { (void)file.get_int_list("l", 0, 9); }),
             Catch::Contains("'l' is [1,-1]"));
  CHECK_THAT(message_of([&] { (void)file.get_bool("i"); }), Catch::Contains("true or false"));
  CHECK_THAT(message_of([&] { (void)file.get_string("i"); }), Catch::Contains("a string"));
  CHECK_THAT(message_of([&] { (void)file.get_object("o").get_int("k", 0, 9); }),
             Catch::Contains("'o.k' is \"v\""));
}

TEST_CASE("broken files") {
  CHECK_THAT(refusal(""), Catch::Contains("empty"));
  CHECK_THAT(refusal("not json"), Catch::Contains("not valid JSON"));
  CHECK_THAT(refusal(std::string("{\"a\":1}\0x", 9)), Catch::Contains("NUL"));
  CHECK_THAT(refusal("[1]"), Catch::Contains("expected an object"));
  CHECK_THAT(refusal("{\"a\":1,}"), Catch::Contains("not valid JSON"));
  CHECK_THAT(refusal("{\"a\":1} x"), Catch::Contains("not valid JSON"));
  CHECK_THAT(refusal("{\"a\":NaN}"), Catch::Contains("not valid JSON"));
  CHECK_THAT(refusal("{\"a\":1e400}"), Catch::Contains("not valid JSON"));
  CHECK_THAT(refusal("{\"a\":\"\xff\"}"), Catch::Contains("not valid JSON"));
  CHECK_THAT(refusal(R"({"a":1,"a":2})"), Catch::Contains("duplicate key 'a'"));
  CHECK_THAT(refusal(R"({"x":{"a":1,"a":2}})"), Catch::Contains("duplicate key 'a'"));
  CHECK_THAT(refusal("{\"a\":" + std::string(100'000, '[')), Catch::Contains("nested deeper"));
  CHECK(refusal("{\"a\":" + std::string(60, '[') + std::string(60, ']') + "}").empty());
}

TEST_CASE("size limit and kind of error") {
  const Scratch scratch;
  write_text(scratch / "x.json", R"({"a":1})");
  CHECK(JsonFile::read(scratch / "x.json").get_int("a", 0, 9) == 1);
  CHECK_THAT(message_of([&] { JsonFile::read(scratch / "x.json", 3); }),
             Catch::Contains("too large"));
  CHECK_THAT(message_of([&] { JsonFile::read(scratch / "x.json", 3, ErrorKind::kInput); },
                        ErrorKind::kInput),
             Catch::Contains("x.json"));
}
