#include "weights/storage.h"

#include <sys/stat.h>

#include <catch2/catch.hpp>
#include <numeric>
#include <vector>

#include "scratch.h"

using namespace t2v;
using namespace t2v::weights;
using t2v::test::message_of;
using t2v::test::Scratch;
using t2v::test::write_text;

namespace {

std::string pattern(size_t bytes) {
  std::string text(bytes, '\0');
  for (size_t i = 0; i < bytes; ++i) text[i] = static_cast<char>((i * 2654435761u) >> 13);
  return text;
}

}  // namespace

TEST_CASE("local paths: what is there") {
  const Scratch scratch;
  write_text(scratch / "file", "abc");
  std::filesystem::create_directory(scratch / "folder");
  std::filesystem::create_symlink("file", scratch / "link");
  std::filesystem::create_symlink("nowhere", scratch / "dangling");
  std::filesystem::create_symlink("loop", scratch / "loop");
  REQUIRE(::mkfifo((scratch / "pipe").c_str(), 0600) == 0);
  const auto storage = open_storage();
  CHECK(storage->look(scratch / "file") == PathKind::kFile);
  CHECK(storage->look(scratch / "link") == PathKind::kFile);
  CHECK(storage->look(scratch / "folder") == PathKind::kFolder);
  CHECK(storage->look(scratch / "absent") == PathKind::kAbsent);
  CHECK(storage->look(scratch / "file/below") == PathKind::kAbsent);
  CHECK(storage->look(scratch / "dangling") == PathKind::kAbsent);
  CHECK(storage->look(scratch / "pipe") == PathKind::kOther);
  CHECK_THAT(message_of([&] { storage->look(scratch / "loop"); }),
             Catch::Contains(scratch / "loop"));

  const auto entries = storage->list(scratch.path());
  std::string seen;
  for (const FolderEntry& entry : entries)
    seen += entry.name + ":" + std::to_string(static_cast<int>(entry.kind)) + ":" +
            std::to_string(entry.size) + " ";
  CHECK(seen == "dangling:0:0 file:1:3 folder:2:0 link:1:3 loop:3:0 pipe:3:0 ");
  CHECK_THAT(message_of([&] { storage->list(scratch / "absent"); }),
             Catch::Contains(scratch / "absent"));
  CHECK_THAT(message_of([&] { storage->open(scratch / "pipe"); }), Catch::Contains("it is a pipe"));
  CHECK(read_whole_file(*storage, scratch / "link", 3) == "abc");
  CHECK_THAT(message_of([&] { read_whole_file(*storage, scratch / "link", 2); }),
             Catch::Contains("too large"));
}

TEST_CASE("names of paths") {
  CHECK(join_path("a/b", "c") == "a/b/c");
  CHECK(join_path("a/b/", "c") == "a/b/c");
  CHECK(join_path("", "c") == "c");
  CHECK(join_path("s3://bucket", "c") == "s3://bucket/c");
  CHECK(join_path("https://host/a?key=1", "c") == "https://host/a/c?key=1");
  CHECK(join_path("what?", "c") == "what?/c");
  CHECK(base_name("a/b/") == "b");
  CHECK(base_name("b") == "b");
  CHECK(base_name("s3://bucket/x.safetensors") == "x.safetensors");
  CHECK(base_name("http://host/x.gguf?sig=a/b") == "x.gguf");
  CHECK(is_remote("s3://a"));
  CHECK(is_remote("https://a"));
  CHECK_FALSE(is_remote("s3:/a"));
  CHECK_FALSE(is_remote("/s3://a"));
}

TEST_CASE("an unknown way to read is refused") {
  CHECK_THAT(message_of([] { open_storage({.io = "mmap"}); }, ErrorKind::kUsage),
             Catch::Contains("mmap"));
}

TEST_CASE("io_uring gives the same bytes as pread, whatever the alignment") {
  const Scratch scratch;
  const std::string content = pattern((size_t{5} << 20) + 1234);
  write_text(scratch / "file", content);
  // Where io_uring is forbidden this reads with pread, and says so.
  const auto file = open_storage({.io = "uring"})->open(scratch / "file");
  const auto size = static_cast<int64_t>(content.size());
  CHECK(file->size() == size);
  CHECK(file->preferred_request_bytes() >= int64_t{8} << 20);
  std::vector<std::byte> memory(content.size() + 8192);
  const size_t to_page = 4096 - reinterpret_cast<uintptr_t>(memory.data()) % 4096;
  struct Range {
    int64_t offset, bytes;
    size_t shift;  // of the memory, from a page
  };
  const std::vector<Range> ranges{{0, size, 0},           {0, size, 1},       {1, size - 1, 1},
                                  {4095, size - 4095, 0}, {7, 4 << 20, 7},    {4096, 1 << 20, 0},
                                  {100, 10, 3},           {size - 1, 1, 0},   {size, 0, 0},
                                  {512, 3 << 20, 512},    {513, 3 << 20, 512}};
  for (const Range& range : ranges) {
    const auto out =
        std::span(memory).subspan(to_page + range.shift, static_cast<size_t>(range.bytes));
    std::fill(out.begin(), out.end(), std::byte{0x55});
    file->read(range.offset, out);
    const auto expected =
        std::as_bytes(std::span(content)).subspan(static_cast<size_t>(range.offset), out.size());
    INFO(range.offset << " " << range.bytes << " " << range.shift);
    CHECK(std::equal(out.begin(), out.end(), expected.begin()));
  }
}

TEST_CASE("io_uring: a file that shrinks is an error") {
  const Scratch scratch;
  write_text(scratch / "file", pattern(size_t{4} << 20));
  const auto file = open_storage({.io = "uring"})->open(scratch / "file");
  std::filesystem::resize_file(scratch / "file", 2'000'000);
  std::vector<std::byte> memory(size_t{4} << 20);
  CHECK_THAT(message_of([&] { file->read(0, memory); }), Catch::Contains("it ended"));
}
