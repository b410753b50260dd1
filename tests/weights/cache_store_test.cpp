#include "weights/cache_store.h"

#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <catch2/catch.hpp>
#include <csignal>
#include <thread>
#include <vector>

#include "core/log.h"
#include "scratch.h"

using namespace t2v;
using namespace t2v::weights;
using t2v::test::Scratch;
namespace fs = std::filesystem;

namespace {

constexpr int64_t kBytes = 100'000;

CacheKey key_of(int64_t block) {
  return {.path = "s3://bucket/model.safetensors",
          .version = "\"etag\"",
          .file_size = 1'000'000'000,
          .offset = block * kBytes,
          .length = kBytes};
}

std::vector<std::byte> content_of(int64_t block) {
  std::vector<std::byte> bytes(kBytes);
  for (size_t i = 0; i < bytes.size(); ++i)
    bytes[i] = static_cast<std::byte>((i * 31 + static_cast<size_t>(block) * 977) >> 3);
  return bytes;
}

// A hit with the right bytes is 1, a miss 0, wrong bytes -1.
int hit(CacheStore& cache, int64_t block) {
  std::vector<std::byte> out(kBytes);
  if (!cache.load(key_of(block), out)) return 0;
  return out == content_of(block) ? 1 : -1;
}

int hits(CacheStore& cache, int64_t blocks) {
  int count = 0;
  for (int64_t i = 0; i < blocks; ++i) {
    const int found = hit(cache, i);
    if (found < 0) return -1;
    count += found;
  }
  return count;
}

std::vector<fs::path> files_in(const std::string& folder) {
  std::vector<fs::path> files;
  for (const auto& entry : fs::recursive_directory_iterator(folder + "/blocks")) {
    if (entry.is_regular_file()) files.push_back(entry.path());
  }
  std::sort(files.begin(), files.end());
  return files;
}

int64_t bytes_in(const std::string& folder) {
  int64_t bytes = 0;
  for (const fs::path& file : files_in(folder)) {
    std::error_code gone;  // others may work there
    const auto size = fs::file_size(file, gone);
    if (!gone) bytes += static_cast<int64_t>(size);
  }
  return bytes;
}

}  // namespace

TEST_CASE("cache: what was stored comes back, also to another process") {
  const Scratch scratch;
  {
    CacheStore cache(scratch / "cache", 0);
    CHECK(hit(cache, 3) == 0);
    cache.store(key_of(3), content_of(3));
    CHECK(hit(cache, 3) == 1);
    CHECK(hit(cache, 4) == 0);
  }
  CacheStore again(scratch / "cache", 0);
  CHECK(hit(again, 3) == 1);
}

TEST_CASE("cache: another version, size or path is a miss") {
  const Scratch scratch;
  CacheStore cache(scratch / "cache", 0);
  cache.store(key_of(0), content_of(0));
  std::vector<std::byte> out(kBytes);
  CacheKey key = key_of(0);
  key.version = "\"other\"";
  CHECK_FALSE(cache.load(key, out));
  key = key_of(0);
  key.file_size += 1;
  CHECK_FALSE(cache.load(key, out));
  key = key_of(0);
  key.path += "x";
  CHECK_FALSE(cache.load(key, out));
  key = key_of(0);
  key.version = "";  // nothing tells versions apart: never kept
  cache.store(key, content_of(0));
  CHECK_FALSE(cache.load(key, out));
  CHECK(files_in(scratch / "cache").size() == 1);
}

TEST_CASE("cache: a flipped bit anywhere, a cut or a swapped block is a miss") {
  const Scratch scratch;
  CacheStore cache(scratch / "cache", 0);
  for (int64_t block = 0; block < 2; ++block) cache.store(key_of(block), content_of(block));
  const auto files = files_in(scratch / "cache");
  REQUIRE(files.size() == 2);
  const core::LogLevel level = core::log_level();
  core::set_log_level(core::LogLevel::kWarn);  // each broken block is told
  const std::string whole = test::read_text(files[0]);
  for (size_t at = 0; at < whole.size(); at = at < 100 ? at + 1 : at + 4001) {
    std::string broken = whole;
    broken[at] = static_cast<char>(broken[at] ^ (1 << (at % 8)));
    test::write_text(files[0], broken);
    INFO(at);
    REQUIRE(hits(cache, 2) == 1);
    REQUIRE_FALSE(fs::exists(files[0]));  // dropped
  }
  for (const size_t size : {size_t{0}, size_t{1}, size_t{4095}, size_t{4096}, whole.size() - 1}) {
    test::write_text(files[0], whole.substr(0, size));
    REQUIRE(hits(cache, 2) == 1);
  }
  test::write_text(files[0], whole + "x");
  REQUIRE(hits(cache, 2) == 1);
  test::write_text(files[0], test::read_text(files[1]));  // the other block under this name
  REQUIRE(hits(cache, 2) == 1);
  test::write_text(files[0], whole);
  CHECK(hits(cache, 2) == 2);
  core::set_log_level(level);
}

TEST_CASE("cache: it never grows over its limit, and the least recently used go first") {
  const Scratch scratch;
  const int64_t limit = 10 * cached_bytes(key_of(0)) + 100;
  CacheStore cache(scratch / "cache", limit);
  for (int64_t block = 0; block < 9; ++block) cache.store(key_of(block), content_of(block));
  CHECK(hits(cache, 9) == 9);
  std::this_thread::sleep_for(std::chrono::milliseconds(20));
  CHECK(hit(cache, 0) == 1);  // used just now
  for (int64_t block = 9; block < 30; ++block) {
    cache.store(key_of(block), content_of(block));
    REQUIRE(bytes_in(scratch / "cache") <= limit);
    if (block == 12) {
      CHECK(hit(cache, 0) == 1);
      CHECK(hit(cache, 1) == 0);
    }
  }
  CHECK(hit(cache, 29) == 1);
  CacheStore small(scratch / "cache", 2 * cached_bytes(key_of(0)));
  small.store(key_of(50), content_of(50));
  CHECK(bytes_in(scratch / "cache") <= 2 * cached_bytes(key_of(0)));
  CacheStore tiny(scratch / "cache", 1000);
  tiny.store(key_of(51), content_of(51));
  CHECK(hit(tiny, 51) == 0);
}

TEST_CASE("cache: an unusable folder or number is no error") {
  const Scratch scratch;
  test::write_text(scratch / "file", "");
  CacheStore cache((scratch / "file") + "/cache", 0);
  cache.store(key_of(0), content_of(0));
  CHECK(hit(cache, 0) == 0);

  const int64_t limit = 3 * cached_bytes(key_of(0));
  for (const std::string number :
       {"", "abc", "\xff\xff\xff\xff\xff\xff\xff\xff", "12345678901234"}) {
    CacheStore other(scratch / "cache", limit);
    for (int64_t block = 0; block < 3; ++block) other.store(key_of(block), content_of(block));
    test::write_text(scratch / "cache/lock", number);
    for (int64_t block = 3; block < 9; ++block) other.store(key_of(block), content_of(block));
    CHECK(bytes_in(scratch / "cache") <= limit);
    CHECK(hit(other, 8) == 1);
  }
}

TEST_CASE("cache: a full disk ends the caching, not the program") {
  const Scratch scratch;
  const pid_t child = ::fork();
  if (child == 0) {  // the limit on file sizes stands for the disk
    ::signal(SIGXFSZ, SIG_IGN);
    CacheStore cache(scratch / "cache", 0);
    const rlimit limit{50'000, 50'000};
    ::setrlimit(RLIMIT_FSIZE, &limit);
    cache.store(key_of(0), content_of(0));
    cache.store(key_of(1), content_of(1));
    ::_exit(hits(cache, 2) == 0 ? 0 : 1);
  }
  int status = 0;
  REQUIRE(::waitpid(child, &status, 0) == child);
  CHECK(status == 0);
  CHECK(files_in(scratch / "cache").empty());
}

TEST_CASE("cache: processes that share it, and those that are killed, harm nobody") {
  const Scratch scratch;
  constexpr int64_t kBlocks = 24;
  const int64_t limit = 12 * cached_bytes(key_of(0));
  fs::create_directories(scratch / "cache/blocks");
  for (int round = 0; round < 8; ++round) {
    std::vector<pid_t> children;
    for (int process = 0; process < 4; ++process) {
      const pid_t child = ::fork();
      if (child == 0) {
        CacheStore cache(scratch / "cache", limit);
        for (int64_t i = 0;; ++i) {
          const int64_t block = (i * (2 * process + 1) + round) % kBlocks;
          if (hit(cache, block) < 0) ::_exit(7);
          cache.store(key_of(block), content_of(block));
          if (process == 0 && i == 60) ::_exit(0);
        }
      }
      children.push_back(child);
    }
    int status = 0;
    REQUIRE(::waitpid(children[0], &status, 0) == children[0]);
    CHECK(status == 0);
    CHECK(bytes_in(scratch / "cache") <= limit + cached_bytes(key_of(0)));
    for (size_t i = 1; i < children.size(); ++i) {  // in the middle of whatever they do
      ::kill(children[i], SIGKILL);
      ::waitpid(children[i], &status, 0);
      CHECK((WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL));
    }
  }
  CacheStore cache(scratch / "cache", limit);
  CHECK(hits(cache, kBlocks) >= 0);
  for (int64_t block = 0; block < kBlocks; ++block) cache.store(key_of(block), content_of(block));
  CHECK(hit(cache, kBlocks - 1) == 1);
  CHECK(bytes_in(scratch / "cache") <= limit);
  test::write_text(scratch / "cache/lock", "");  // counts again: parts of the killed go
  cache.store(key_of(kBlocks), content_of(kBlocks));
  for (const fs::path& file : files_in(scratch / "cache"))
    CHECK_FALSE(file.filename().string().starts_with(".part"));
}
