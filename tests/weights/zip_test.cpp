// Directories of ZIP archives: what is refused, and damage at every place.
#include <catch2/catch.hpp>

#include "container_bytes.h"
#include "scratch.h"
#include "weights/torch_archive.h"

using namespace t2v;
using namespace t2v::weights;
using namespace t2v::test;

namespace {

const std::string kStorage(24, 'x');

ZipFile tiny() {
  ZipFile zip;
  zip.alignment = 64;
  zip.entries = {{"a/data.pkl", pickle(pickle_dict({{"w", PickledTensorBytes{}.bytes()}}))},
                 {"a/byteorder", "little"},
                 {"a/data/0", kStorage}};
  return zip;
}

// "" when accepted.
std::string outcome(const std::string& bytes, ContainerHeader* header = nullptr) {
  static const Scratch scratch;
  write_text(scratch / "x.pth", bytes);
  const std::string message = message_of([&] {
    ContainerHeader read = read_torch_archive(LocalFile(scratch / "x.pth"));
    if (header != nullptr) *header = std::move(read);
  });
  if (!message.empty()) CHECK_THAT(message, Catch::Contains("x.pth"));
  return message;
}

template <typename Change>
std::string outcome_of(Change&& change) {
  ZipFile zip = tiny();
  change(zip);
  return outcome(zip.bytes());
}

// The tiny archive with some bytes replaced, `at` counted from the end records or the directory.
std::string patched(std::string_view mark, size_t at, const std::string& bytes, bool wide = false) {
  ZipFile zip = tiny();
  zip.wide = wide;
  std::string file = zip.bytes();
  file.replace(file.rfind(mark) + at, bytes.size(), bytes);
  return outcome(file);
}

}  // namespace

TEST_CASE("ZIP: members that are refused") {
  CHECK(outcome(tiny().bytes()).empty());
  CHECK_THAT(outcome_of([](ZipFile& zip) { zip.entries[2].method = 8; }),
             Catch::Contains("'a/data/0' is compressed (method 8)"));
  CHECK_THAT(outcome_of([](ZipFile& zip) { zip.entries[2].flags = 1; }),
             Catch::Contains("'a/data/0' is encrypted"));
  for (const char* name : {"../data/0", "/a/data/0", "a/../../0", "a\\data\\0", "a/./0", "..",
                           "a/data/\x1b[2J", "a/data/.."}) {
    CAPTURE(name);
    CHECK_THAT(outcome_of([&](ZipFile& zip) { zip.entries[2].name = name; }),
               Catch::Contains("unsafe name"));
  }
  CHECK_THAT(outcome_of([](ZipFile& zip) { zip.entries.push_back(zip.entries[2]); }),
             Catch::Contains("'a/data/0' is there twice"));
  CHECK_THAT(outcome_of([](ZipFile& zip) { zip.entries[2].directory_name = "a/data/1"; }),
             Catch::Contains("'data/0', which is not there"));
  CHECK_THAT(outcome_of([](ZipFile& zip) {
               zip.entries[2].directory_name = "a/data/0";
               zip.entries[2].name = "a/data/1";
             }),
             Catch::Contains("is not where the directory says"));
  CHECK_THAT(outcome_of([](ZipFile& zip) { zip.entries.erase(zip.entries.begin()); }),
             Catch::Contains("no 'data.pkl'"));
  CHECK_THAT(outcome_of([](ZipFile& zip) { zip.entries[0].name = "a/b/data.pkl"; }),
             Catch::Contains("no 'data.pkl'"));
  CHECK_THAT(outcome_of([](ZipFile& zip) {
               zip.entries.push_back({"b/data.pkl", "N."});
             }),
             Catch::Contains("two pickles"));
  CHECK_THAT(outcome_of([](ZipFile& zip) { zip.entries[1].content = "big"; }),
             Catch::Contains("its byte order is 'big'"));
  CHECK_THAT(outcome_of([](ZipFile& zip) { zip.entries[1].content = std::string(100, 'x'); }),
             Catch::Contains("at most 64"));
  CHECK_THAT(outcome_of([](ZipFile& zip) { zip.entries[2].content = "short"; }),
             Catch::Contains("of 5 bytes"));
  CHECK_THAT(outcome_of([](ZipFile& zip) { zip.entries.clear(); }),
             Catch::Contains("no 'data.pkl'"));
}

TEST_CASE("ZIP: broken end records") {
  const std::string file = tiny().bytes();
  CHECK_THAT(outcome("PK\3\4"), Catch::Contains("only 4 bytes"));
  CHECK_THAT(outcome("PK\3\4" + std::string(100, '\0')), Catch::Contains("no directory"));
  CHECK_THAT(outcome(file + "x"), Catch::Contains("no directory"));
  CHECK_THAT(outcome("x" + file), Catch::Contains("not where it should be"));
  const std::string end = "PK\5\6";
  CHECK_THAT(patched(end, 4, le<uint16_t>(1)), Catch::Contains("several disks"));
  CHECK_THAT(patched(end, 10, le<uint16_t>(4)), Catch::Contains("several disks"));
  CHECK_THAT(patched(end, 8, le<uint32_t>(0x00020002)), Catch::Contains("longer than its members"));
  CHECK_THAT(patched(end, 8, le<uint32_t>(0x00040004)), Catch::Contains("claims 4 members"));
  CHECK_THAT(patched(end, 8, le<uint32_t>(UINT32_MAX)), Catch::Contains("claims 65535 members"));
  CHECK_THAT(patched(end, 12, le<uint32_t>(10)), Catch::Contains("not where it should be"));
  CHECK_THAT(patched(end, 12, le<uint32_t>(UINT32_MAX)), Catch::Contains("not where it should be"));
  CHECK_THAT(patched(end, 16, le<uint32_t>(0)), Catch::Contains("not where it should be"));
  const std::string locator = "PK\6\7";
  CHECK_THAT(patched(locator, 8, le<uint64_t>(UINT64_MAX), true),
             Catch::Contains("beyond its end"));
  CHECK_THAT(patched(locator, 8, le<uint64_t>(0), true), Catch::Contains("not where it should be"));
  CHECK_THAT(patched(locator, 16, le<uint32_t>(2), true), Catch::Contains("several disks"));
  const std::string wide = "PK\6\6";
  CHECK_THAT(patched(wide, 4, le<uint64_t>(1000), true), Catch::Contains("wrong length"));
  CHECK_THAT(patched(wide, 16, le<uint32_t>(1), true), Catch::Contains("several disks"));
  CHECK_THAT(patched(wide, 24, le<uint64_t>(9), true), Catch::Contains("several disks"));
  CHECK_THAT(patched(wide, 40, le<uint64_t>(UINT64_MAX), true), Catch::Contains("not where"));
  CHECK_THAT(patched(wide, 48, le<uint64_t>(UINT64_MAX), true), Catch::Contains("not where"));
}

TEST_CASE("ZIP: broken entries of the directory") {
  const std::string entry = "PK\1\2";  // the last one, of a/data/0
  CHECK_THAT(patched(entry, 0, "PK\1\3"), Catch::Contains("directory is broken"));
  CHECK_THAT(patched(entry, 8, le<uint16_t>(1)), Catch::Contains("encrypted"));
  CHECK_THAT(patched(entry, 10, le<uint16_t>(14)), Catch::Contains("method 14"));
  CHECK_THAT(patched(entry, 16, le<uint32_t>(1)), Catch::Contains("differs from what"));
  CHECK_THAT(patched(entry, 20, le<uint32_t>(23)), Catch::Contains("two different sizes"));
  CHECK_THAT(patched(entry, 20, le<uint64_t>(0x0000001700000017)), Catch::Contains("of 23 bytes"));
  CHECK_THAT(patched(entry, 20, le<uint64_t>(0x7fffffff7fffffff)), Catch::Contains("2147483647"));
  CHECK_THAT(patched(entry, 20, le<uint32_t>(UINT32_MAX)), Catch::Contains("no ZIP64 field"));
  CHECK_THAT(patched(entry, 28, le<uint16_t>(60000)), Catch::Contains("expected at byte"));
  CHECK_THAT(patched(entry, 28, le<uint16_t>(0)), Catch::Contains("unsafe name"));
  CHECK_THAT(patched(entry, 34, le<uint16_t>(1)), Catch::Contains("another disk"));
  CHECK_THAT(patched(entry, 42, le<uint32_t>(UINT32_MAX - 1)), Catch::Contains("after byte"));
  CHECK_THAT(patched(entry, 42, le<uint32_t>(1)), Catch::Contains("reaches into the next"));
  CHECK_THAT(patched(entry, 42, le<uint32_t>(0)), Catch::Contains("reaches into the next"));
  const std::string local = "PK\3\4";
  CHECK_THAT(patched(local, 0, "PK\3\5"), Catch::Contains("not where the directory says"));
  CHECK_THAT(patched(local, 8, le<uint16_t>(8)), Catch::Contains("compressed"));
  CHECK_THAT(patched(local, 18, le<uint64_t>(0x0000001700000017)), Catch::Contains("differs from"));
  CHECK_THAT(patched(local, 26, le<uint16_t>(7)), Catch::Contains("not where the directory says"));
  CHECK_THAT(patched(local, 28, le<uint16_t>(60000)), Catch::Contains("does not end where"));
  CHECK_THAT(patched(local, 28, le<uint16_t>(0)), Catch::Contains("does not end where"));
}

TEST_CASE("ZIP: ZIP64 fields that are broken") {
  ZipFile zip = tiny();
  zip.wide = true;
  CHECK(outcome(zip.bytes()).empty());
  const std::string entry = "PK\1\2";
  const size_t field = 46 + std::string("a/data/0").size();
  CHECK_THAT(patched(entry, field, le<uint16_t>(2), true), Catch::Contains("no ZIP64 field"));
  CHECK_THAT(patched(entry, field + 2, le<uint16_t>(16), true), Catch::Contains("short ZIP64"));
  CHECK_THAT(patched(entry, field + 2, le<uint16_t>(25), true), Catch::Contains("broken extra"));
  CHECK_THAT(patched(entry, field + 4, le<uint64_t>(UINT64_MAX), true),
             Catch::Contains("two diff"));
  CHECK_THAT(patched(entry, field + 20, le<uint64_t>(UINT64_MAX), true),
             Catch::Contains("after by"));
}

TEST_CASE("ZIP: sizes behind the content, as torch.save writes them") {
  ZipFile zip = tiny();
  zip.sizes_follow = true;
  zip.entries.push_back({"a/data/1", ""});  // an empty storage
  zip.entries.push_back({"a/version", "3\n"});
  ContainerHeader header;
  const std::string file = zip.bytes();
  CHECK(outcome(file, &header).empty());
  REQUIRE(header.tensors.size() == 1);
  CHECK(file.substr(static_cast<size_t>(header.tensors[0].offset), 24) == kStorage);
  zip.wide = true;
  CHECK(outcome(zip.bytes()).empty());
  // One member alone says so.
  std::string flipped = file;
  flipped.replace(flipped.rfind("PK\1\2") + 8, 2, le<uint16_t>(0));
  CHECK_THAT(outcome(flipped), Catch::Contains("does not end where"));
}

TEST_CASE("ZIP: an archive cut at any byte is refused") {
  for (const int kind : {0, 1, 2, 3}) {
    ZipFile zip = tiny();
    zip.wide = (kind & 1) != 0;
    zip.sizes_follow = (kind & 2) != 0;
    const std::string whole = zip.bytes();
    for (size_t size = 0; size < whole.size(); ++size) {
      if (outcome(whole.substr(0, size)).empty()) FAIL("accepted at " << size);
    }
  }
}

TEST_CASE("ZIP: any flipped bit outside of tensors is refused or harmless") {
  for (const int kind : {0, 1, 2, 3}) {
    ZipFile zip = tiny();
    zip.wide = (kind & 1) != 0;
    zip.sizes_follow = (kind & 2) != 0;
    const std::string whole = zip.bytes();
    ContainerHeader header;
    REQUIRE(outcome(whole, &header).empty());
    const TensorEntry& expected = header.tensors[0];
    const auto begin = static_cast<size_t>(expected.offset);
    for (size_t bit = 0; bit < whole.size() * 8; ++bit) {
      if (bit / 8 >= begin && bit / 8 < begin + kStorage.size()) continue;
      std::string flipped = whole;
      flipped[bit / 8] = static_cast<char>(flipped[bit / 8] ^ 1 << bit % 8);
      ContainerHeader other;
      const std::string message = outcome(flipped, &other);
      if (message.starts_with("wrong kind")) FAIL("bit " << bit << ": " << message);
      if (!message.empty()) continue;
      REQUIRE(other.tensors.size() == 1);
      const TensorEntry& tensor = other.tensors[0];
      const bool same = tensor.name == expected.name && tensor.dtype == expected.dtype &&
                        tensor.shape == expected.shape && tensor.offset == expected.offset &&
                        tensor.bytes == expected.bytes;
      if (!same) FAIL("bit " << bit << " gives another tensor");
    }
  }
}
