// What a block list refuses: words by their borders, folded text, regular expressions, bad lists.
#include "cli/block_list.h"

#include <unistd.h>

#include <catch2/catch.hpp>
#include <chrono>
#include <cstdlib>
#include <fstream>

#include "t2v/error.h"

namespace t2v::cli {
namespace {

class ListFile {
 public:
  explicit ListFile(const std::string& text) : path_("block-list-XXXXXX") {
    ::close(::mkstemp(path_.data()));
    std::ofstream(path_, std::ios::binary) << text;
  }
  ListFile(const ListFile&) = delete;
  ListFile& operator=(const ListFile&) = delete;
  ~ListFile() { ::unlink(path_.c_str()); }
  [[nodiscard]] const std::string& path() const { return path_; }

 private:
  std::string path_;
};

// The line that matches, 0 for none.
size_t line_of(const std::string& list, const std::string& text) {
  const ListFile file(list);
  const auto match = BlockList::read(file.path()).find(text);
  return match ? match->line : 0;
}

std::string complaint(const std::string& list) {
  const ListFile file(list);
  try {
    static_cast<void>(BlockList::read(file.path()));
  } catch (const Error& error) {
    REQUIRE(error.kind() == ErrorKind::kInput);
    return error.what();
  }
  return "";
}

TEST_CASE("words are whole words in any letter case") {
  CHECK(line_of("gun\n", "a Gun on a table") == 1);
  CHECK(line_of("GUN\n", "gun") == 1);
  CHECK(line_of("gun\n", "(gun)") == 1);
  CHECK(line_of("gun\n", "gun-shy") == 1);
  CHECK(line_of("gun\n", "the sun has begun") == 0);
  CHECK(line_of("gun\n", "guns") == 0);
  CHECK(line_of("gun\n", "gun2") == 0);
  CHECK(line_of("gun\n", "") == 0);
  CHECK(line_of("red circle\n", "a red \t\n circle") == 1);
  CHECK(line_of("red circle\n", "a red-circle") == 0);
  CHECK(line_of("c++\n", "written in C++, fast") == 1);
}

TEST_CASE("the lowest line is told; comments, blank lines, CRLF and a byte-order mark are taken") {
  const std::string list = "\xef\xbb\xbf# a comment\r\n\r\n  knife \r\ngun\r\nknife\r\n";
  CHECK(line_of(list, "a knife and a gun") == 3);
  CHECK(line_of(list, "a gun") == 4);
  CHECK(line_of(list, "a comment") == 0);
}

TEST_CASE("what only looks different is the same") {
  CHECK(line_of("gun\n", "ｇｕｎ") == 1);           // full width
  CHECK(line_of("gun\n", "g\u00adu\u200bn") == 1);  // soft hyphen, zero width
  CHECK(line_of("gun\n", "&#103;un") == 1);         // as the engine would read it
  CHECK(line_of("gun\n", "&amp;#x67;un") == 1);
  CHECK(line_of("gun\n", "&#9999999999;un &#;") == 0);
  CHECK(line_of("straße\n", "STRASSE") == 1);
  CHECK(line_of("cafe\n", "Café") == 1);  // plain entries take accents
  CHECK(line_of("café\n", "cafe\u0301") == 1);
  CHECK(line_of("café\n", "cafe") == 0);  // entries with accents want them
  CHECK(line_of("ωμέγα\n", "ΩΜΈΓΑ") == 1);
  CHECK(line_of("оружие\n", "ОРУЖИЕ на столе") == 1);
  CHECK(line_of("ﬁre\n", "FIRE") == 1);  // ligature
  std::string zalgo = "g";
  for (int i = 0; i < 200000; ++i) zalgo += i % 2 == 0 ? "\u0316" : "\u0301";
  CHECK(line_of("gun\n", zalgo + "un") == 1);
}

TEST_CASE("scripts without blanks between words match anywhere") {
  CHECK(line_of("武器\n", "他手里拿着武器走路") == 1);
  CHECK(line_of("ナイフ\n", "赤いﾅｲﾌを持つ") == 1);  // half-width kana
  CHECK(line_of("무기\n", "무기를 든 사람") == 1);
  CHECK(line_of("ปืน\n", "คนถือปืนเดิน") == 1);
  CHECK(line_of("武器\n", "武 器") == 0);
  CHECK(line_of("हथियार\n", "एक हथियार") == 1);
  CHECK(line_of("हथ\n", "एक हथियार") == 0);  // Devanagari has blanks
  CHECK(line_of("سلاح\n", "رجل مع سلاح") == 1);
}

TEST_CASE("messages tell the line and not the word") {
  const ListFile file("# secret list\nweapon\n");
  const BlockList list = BlockList::read(file.path());
  Request request;
  request.prompt = "a weapon";
  const auto refusal = list.refusal_of(request);
  REQUIRE(refusal);
  CHECK(refusal->find("line 2 of the block list") != std::string::npos);
  CHECK(refusal->find("weapon") == std::string::npos);
  CHECK(refusal->find("try") != std::string::npos);
  request.prompt = "a flower";
  request.negative_prompt = "weapon";
  CHECK_FALSE(list.refusal_of(request));
  request.prompts_at = {{.seconds = 2.5, .prompt = "flowers"}, {.seconds = 5, .prompt = "Weapon!"}};
  CHECK(list.refusal_of(request).value_or("").find("from second 5 on") != std::string::npos);
  CHECK(list.num_entries() == 1);
}

TEST_CASE("lists that cannot be read or hold nothing are input errors") {
  CHECK(complaint("").find("empty") != std::string::npos);
  CHECK(complaint("# only\n\n").find("empty") != std::string::npos);
  CHECK(complaint("fine\n\u200b\n").find("line 2 holds no visible character") != std::string::npos);
  CHECK(complaint("a\xff\n").find("UTF-8") != std::string::npos);
  CHECK(complaint("fine\n/unclosed\n").find("line 2") != std::string::npos);
  CHECK_THROWS_AS(BlockList::read("no-such-file"), Error);
  std::string many;
  for (int i = 0; i < 30; ++i) many += "/x\n";
  CHECK(complaint(many).find("and 22 more") != std::string::npos);
}

#ifdef T2V_RE2
TEST_CASE("regular expressions") {
  CHECK(line_of("/g[uv]+n/\n", "a GUUUN") == 1);
  CHECK(line_of("/g[uv]+n/\n", "beguns") == 1);  // no whole words: write \\b
  CHECK(line_of("/\\bgun\\b/\n", "beguns") == 0);
  CHECK(line_of("/ｇun/\n", "gun") == 0);
  CHECK(line_of("/gun/\n", "ｇｕｎ") == 1);
  CHECK(line_of("/\\p{Han}{3}/\n", "一二三") == 1);
  CHECK(line_of("flower\n/sun/\n", "sunflower flower") == 1);
  for (const std::string bad : {"/(/", "/[a/", "/(?=a)/", "/a{2000}/", "/\\1/"}) {
    CAPTURE(bad);
    const std::string text = complaint("fine\n" + bad + "\n");
    CHECK(text.find("line 2 is no regular expression") != std::string::npos);
  }
}

TEST_CASE("regular expressions take linear time") {
  const ListFile file("/(a+)+$/\n/(a|aa)*b{3}/\n/(.*)*x{50}y/\n");
  const BlockList list = BlockList::read(file.path());
  const auto start = std::chrono::steady_clock::now();
  CHECK_FALSE(list.find(std::string(200'000, 'a') + "!"));
  const std::chrono::duration<double> took = std::chrono::steady_clock::now() - start;
  CHECK(took.count() < 5);
}
#endif

TEST_CASE("a hundred thousand entries are read and looked up in no time") {
  std::string text;
  for (int i = 0; i < 100'000; ++i) text += "word" + std::to_string(i * 7919 % 1'000'003) + "\n";
  const ListFile file(text);
  const auto start = std::chrono::steady_clock::now();
  const BlockList list = BlockList::read(file.path());
  const auto read = std::chrono::steady_clock::now();
  size_t found = 0;
  for (int i = 0; i < 1000; ++i) {
    found += list.find("a word" + std::to_string(i) + " and a flower in the sun, seen from afar")
                 ? 1
                 : 0;
  }
  const auto done = std::chrono::steady_clock::now();
  CHECK(found > 20);
  CHECK(found < 1000);
  const std::chrono::duration<double> reading = read - start, looking = done - read;
  WARN("reading " << reading.count() << " s, 1000 prompts " << looking.count() << " s");
  CHECK(reading.count() < 10);
  CHECK(looking.count() < 5);
}

}  // namespace
}  // namespace t2v::cli
