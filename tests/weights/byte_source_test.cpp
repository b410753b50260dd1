#include "weights/byte_source.h"

#include <sys/stat.h>

#include <array>
#include <catch2/catch.hpp>
#include <thread>
#include <vector>

#include "scratch.h"

using namespace t2v;
using namespace t2v::weights;
using t2v::test::message_of;
using t2v::test::Scratch;
using t2v::test::write_text;

TEST_CASE("a local file gives the bytes asked for and counts them") {
  const Scratch scratch;
  write_text(scratch / "file", "0123456789");
  const LocalFile file(scratch / "file");
  CHECK(file.size() == 10);
  CHECK(file.name() == scratch / "file");
  std::array<char, 4> out{};
  file.read(3, std::as_writable_bytes(std::span(out)));
  CHECK(std::string(out.begin(), out.end()) == "3456");
  CHECK(file.bytes_read() == 4);
  file.read(10, {});
  CHECK(file.bytes_read() == 4);
}

TEST_CASE("reads outside the file are refused and name it") {
  const Scratch scratch;
  write_text(scratch / "file", "0123456789");
  const LocalFile file(scratch / "file");
  std::array<std::byte, 4> out{};
  CHECK_THAT(message_of([&] { file.read(7, out); }), Catch::Contains(scratch / "file"));
  CHECK_THAT(message_of([&] { file.read(-1, out); }), Catch::Contains(scratch / "file"));
  CHECK_THAT(message_of([&] { file.read(INT64_MAX, out); }), Catch::Contains(scratch / "file"));
}

TEST_CASE("a file that shrinks while it is read is an error, not a signal") {
  const Scratch scratch;
  write_text(scratch / "file", std::string(1000, 'x'));
  const LocalFile file(scratch / "file");
  std::filesystem::resize_file(scratch / "file", 10);
  std::array<std::byte, 100> out{};
  CHECK_THAT(message_of([&] { file.read(0, out); }), Catch::Contains("it ended at byte 10"));
}

TEST_CASE("only regular files are opened, without waiting") {
  const Scratch scratch;
  REQUIRE(::mkfifo((scratch / "pipe").c_str(), 0600) == 0);
  std::filesystem::create_symlink("/dev/zero", scratch / "zero");
  std::filesystem::create_symlink("loop", scratch / "loop");
  CHECK_THAT(message_of([&] { LocalFile(scratch / "pipe"); }), Catch::Contains("it is a pipe"));
  CHECK_THAT(message_of([&] { LocalFile(scratch / "zero"); }), Catch::Contains("it is a device"));
  CHECK_THAT(message_of([&] { LocalFile(scratch.path()); }), Catch::Contains("it is a folder"));
  CHECK_THAT(message_of([&] { LocalFile(scratch / "loop"); }), Catch::Contains(scratch / "loop"));
  CHECK_THAT(message_of([&] { LocalFile(scratch / "absent"); }), Catch::Contains("No such file"));
  CHECK_THAT(
      message_of([&] { LocalFile(scratch / "absent", ErrorKind::kInput); }, ErrorKind::kInput),
      Catch::Contains("No such file"));
}

TEST_CASE("links to regular files are followed") {
  const Scratch scratch;
  write_text(scratch / "blobs/abc", "content");
  std::filesystem::create_symlink("blobs/abc", scratch / "link");
  CHECK(read_whole_file(scratch / "link", 100) == "content");
  CHECK_THAT(message_of([&] { read_whole_file(scratch / "link", 3); }),
             Catch::Contains("too large"));
}

TEST_CASE("one file may be read from several threads") {
  const Scratch scratch;
  std::string content;
  for (int i = 0; i < 1 << 16; ++i) content += static_cast<char>(i % 251);
  write_text(scratch / "file", content);
  const LocalFile file(scratch / "file");
  std::vector<std::string> results(4);
  std::vector<std::thread> threads;
  for (std::string& result : results) {
    threads.emplace_back([&file, &result] {
      result.resize(static_cast<size_t>(file.size()));
      for (size_t at = 0; at < result.size(); at += 512) {
        file.read(static_cast<int64_t>(at),
                  std::as_writable_bytes(std::span(result).subspan(at, 512)));
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  for (const std::string& result : results) CHECK(result == content);
  CHECK(file.bytes_read() == 4 * file.size());
}
