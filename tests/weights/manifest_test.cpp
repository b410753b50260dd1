#include "weights/manifest.h"

#include <catch2/catch.hpp>

#include "scratch.h"
#include "t2v/verify.h"
#include "weights/sha256.h"

using namespace t2v;
using namespace t2v::weights;
using t2v::test::message_of;
using t2v::test::Scratch;
using t2v::test::write_text;

namespace {

const std::string kSum(64, 'a');

std::string one_file(const std::string& path, const std::string& bytes = "1",
                     const std::string& sum = kSum) {
  return R"({"version": 1, "files": [{"path": ")" + path + R"(", "bytes": )" + bytes +
         R"(, "sha256": ")" + sum + R"("}]})";
}

std::string sum_of(const std::string& text) {
  Sha256 sum;
  for (size_t at = 0; at < text.size(); at += 7)
    sum.add(std::as_bytes(std::span(text).subspan(at, std::min<size_t>(7, text.size() - at))));
  return sum.finish();
}

std::string states_of(const VerifyReport& report) {
  std::string text;
  for (const VerifiedFile& file : report.files)
    text += file.path + ":" + std::to_string(static_cast<int>(file.state)) + " ";
  return text;
}

}  // namespace

TEST_CASE("SHA-256 of known texts") {
  CHECK(sum_of("") == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  CHECK(sum_of("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq") ==
        "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
}

TEST_CASE("a manifest survives being written and read") {
  const Manifest manifest{{{"a/b c.json", 5, kSum}, {"z", 0, kSum}}};
  const Manifest again = parse_manifest(manifest_text(manifest), "name");
  REQUIRE(again.files.size() == 2);
  CHECK(again.files[0].path == "a/b c.json");
  CHECK(again.files[0].bytes == 5);
  CHECK(again.files[1].sha256 == kSum);
}

TEST_CASE("broken manifests are refused by name") {
  const std::vector<std::string> broken{
      "",
      "[]",
      "{",
      "null",
      R"({"version": 2, "files": []})",
      R"({"files": []})",
      R"({"version": 1, "files": {}})",
      R"({"version": 1, "files": [1]})",
      R"({"version": 1, "files": [{}]})",
      one_file("../up"),
      one_file("a/../b"),
      one_file("/etc/passwd"),
      one_file(""),
      one_file("a//b"),
      one_file("a/"),
      one_file("a\\u0000b"),
      one_file("a\\\\b"),
      one_file("ok", "-1"),
      one_file("ok", "1.5"),
      one_file("ok", "1e400"),
      one_file("ok", "18446744073709551615"),
      one_file("ok", "1", "abc"),
      one_file("ok", "1", std::string(64, 'A')),
      std::string(100, '[') + std::string(100, ']'),
      R"({"version": 1, "files": [{"path": "a", "bytes": 1, "sha256": ")" + kSum +
          R"("}, {"path": "a", "bytes": 1, "sha256": ")" + kSum + R"("}]})",
  };
  CHECK(parse_manifest(one_file("ok/name"), "m").files.size() == 1);
  for (const std::string& text : broken) {
    INFO(text);
    CHECK_THAT(message_of([&] { parse_manifest(text, "manifest-name"); }),
               Catch::Contains("manifest-name"));
  }
}

TEST_CASE("verify finds what changed, is missing and is new") {
  const Scratch scratch;
  const CancelToken never;
  const std::string model = scratch / "model";
  for (const char* name : {"/one", "/two", "/sub/three", "/sub/deep/four"})
    write_text(model + name, std::string("content of ") + name);
  write_text(model + "/.hidden", "x");
  VerifyOptions options{.path = model};
  CHECK_THAT(message_of([&] { verify_model(options, never); }, ErrorKind::kUsage),
             Catch::Contains("--write-manifest") && Catch::Contains(model));
  options.write_manifest = true;
  CHECK(verify_model(options, never).files.size() == 4);
  options.write_manifest = false;
  CHECK(states_of(verify_model(options, never)) == "one:0 sub/deep/four:0 sub/three:0 two:0 ");
  write_text(model + "/one", "content of /onf");  // same size
  write_text(model + "/two", "content of /two, longer");
  std::filesystem::remove(model + "/sub/three");
  write_text(model + "/five", "");
  CHECK(states_of(verify_model(options, never)) ==
        "five:3 one:1 sub/deep/four:0 sub/three:2 two:1 ");
  CancelToken now;
  now.cancel();
  CHECK(message_of([&] { verify_model(options, now); }, ErrorKind::kCancelled) == "interrupted");
  std::filesystem::create_directory_symlink("..", model + "/sub/again");
  CHECK_THAT(message_of([&] { verify_model(options, never); }), Catch::Contains("link"));
}
