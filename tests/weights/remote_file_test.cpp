#include "weights/remote_file.h"

#include <atomic>
#include <catch2/catch.hpp>
#include <chrono>
#include <functional>
#include <thread>
#include <vector>

#include "scratch.h"
#include "weights/remote_storage.h"

using namespace t2v;
using namespace t2v::weights;
using t2v::test::message_of;
using t2v::test::Scratch;
using Outcome = RemoteAnswer::Outcome;

namespace {

constexpr int64_t kBlock = RemoteFile::kBlockBytes;
const std::string kPath = "s3://bucket/file";

// One file, and an answer for each read.
class FakeStore final : public RemoteStore {
 public:
  explicit FakeStore(int64_t size) : content_(static_cast<size_t>(size)) {
    for (size_t i = 0; i < content_.size(); ++i)
      content_[i] = static_cast<std::byte>((i * 2654435761u) >> 11);
  }
  RemoteAnswer look(const std::string& path, RemoteFacts& facts) override {
    ++looks;
    if (path == kPath) facts = {PathKind::kFile, static_cast<int64_t>(content_.size()), version};
    return on_look ? on_look() : RemoteAnswer{};
  }
  RemoteAnswer list(const std::string& /*folder*/, std::vector<FolderEntry>& entries) override {
    entries = {{.name = "z"}, {.name = "a"}};
    return {};
  }
  RemoteAnswer read(const RemoteRange& range, std::span<std::byte> out) override {
    const int number = ++reads;
    if (on_read) {
      if (RemoteAnswer answer = on_read(number); answer.outcome != Outcome::kDone) return answer;
    }
    std::copy_n(content_.begin() + range.offset, out.size(), out.begin());
    return {};
  }
  [[nodiscard]] bool is_content(int64_t offset, std::span<const std::byte> bytes) const {
    return std::equal(bytes.begin(), bytes.end(), content_.begin() + offset);
  }

  std::atomic<int> looks{0}, reads{0};
  std::string version = "\"v1\"";
  std::function<RemoteAnswer(int)> on_read;
  std::function<RemoteAnswer()> on_look;

 private:
  std::vector<std::byte> content_;
};

StorageOptions quick(const std::string& cache = "") {
  return {.cache_dir = cache, .timeout_seconds = 0.2};
}

}  // namespace

TEST_CASE("remote: reads of all sizes and places") {
  const auto store = std::make_shared<FakeStore>(3 * kBlock + 777);
  const auto storage = make_remote_storage(store, quick());
  const auto file = storage->open(kPath);
  for (const auto& [offset, bytes] :
       std::vector<std::pair<int64_t, int64_t>>{{0, 3 * kBlock + 777},
                                                {0, 8},
                                                {8, 5000},
                                                {kBlock - 1, 2},
                                                {kBlock, kBlock},
                                                {3 * kBlock, 777},
                                                {5, 2 * kBlock},
                                                {3 * kBlock + 777, 0}}) {
    std::vector<std::byte> out(static_cast<size_t>(bytes));
    file->read(offset, out);
    INFO(offset << " " << bytes);
    CHECK(store->is_content(offset, out));
  }
  std::vector<std::byte> out(1);
  CHECK_THAT(message_of([&] { file->read(3 * kBlock + 777, out); }), Catch::Contains(kPath));
}

TEST_CASE("remote: small reads of one block are one request, from any number of threads") {
  const auto store = std::make_shared<FakeStore>(kBlock);
  store->on_read = [](int) {
    std::this_thread::sleep_for(std::chrono::milliseconds(30));
    return RemoteAnswer{};
  };
  const auto file = make_remote_storage(store, quick())->open(kPath);
  std::vector<std::thread> threads;
  std::atomic<int> right{0};
  for (int t = 0; t < 6; ++t) {
    threads.emplace_back([&, t] {
      std::vector<std::byte> out(100);
      for (int64_t i = 0; i < 50; ++i) {
        file->read((i * 6 + t) * 1000, out);
        right += store->is_content((i * 6 + t) * 1000, out) ? 1 : 0;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  CHECK(right == 300);
  CHECK(store->reads == 1);
}

TEST_CASE("remote: what may pass is tried again, with an end") {
  const auto store = std::make_shared<FakeStore>(4 * kBlock);
  store->on_read = [](int number) {
    return number % 3 == 0 ? RemoteAnswer{} : RemoteAnswer{Outcome::kRetry, "HTTP status 503"};
  };
  const auto storage = make_remote_storage(store, quick());
  std::vector<std::byte> out(static_cast<size_t>(kBlock));
  storage->open(kPath)->read(0, out);
  CHECK(store->reads == 3);
  CHECK(store->is_content(0, out));

  store->on_read = [](int) { return RemoteAnswer{Outcome::kRetry, "HTTP status 503"}; };
  const auto start = std::chrono::steady_clock::now();
  CHECK_THAT(message_of([&] { storage->open(kPath)->read(0, out); }, ErrorKind::kRemote),
             Catch::Contains("HTTP status 503") && Catch::Contains(kPath));
  CHECK(std::chrono::steady_clock::now() - start < std::chrono::seconds(3));
}

TEST_CASE("remote: failures have their kinds") {
  const auto store = std::make_shared<FakeStore>(4 * kBlock);
  const auto storage = make_remote_storage(store, quick());
  const auto file = storage->open(kPath);
  std::vector<std::byte> out(static_cast<size_t>(3 * kBlock));
  const auto message = [&](Outcome outcome, ErrorKind kind) {
    store->on_read = [=](int) { return RemoteAnswer{outcome, "why\n"}; };
    store->reads = 0;
    const std::string text = message_of([&] { file->read(0, out); }, kind);
    CHECK(store->reads <= 8);  // no retries
    CHECK(text.find('\n') == std::string::npos);
    return text;
  };
  CHECK_THAT(message(Outcome::kChanged, ErrorKind::kRemote), Catch::Contains("changed while"));
  CHECK_THAT(message(Outcome::kDenied, ErrorKind::kRemote), Catch::Contains("access denied"));
  CHECK_THAT(message(Outcome::kRefused, ErrorKind::kRemote), Catch::Contains("why"));
  CHECK_THAT(message(Outcome::kAbsent, ErrorKind::kModel), Catch::Contains("not there"));
  CHECK(storage->look("s3://bucket/other") == PathKind::kAbsent);
  CHECK_THAT(
      message_of([&] { storage->open("s3://bucket/other", ErrorKind::kInput); }, ErrorKind::kInput),
      Catch::Contains("s3://bucket/other"));
  store->on_look = [] { return RemoteAnswer{Outcome::kDenied, "HTTP status 403"}; };
  CHECK_THAT(message_of([&] { storage->look("s3://bucket/third"); }, ErrorKind::kRemote),
             Catch::Contains("403"));
}

TEST_CASE("remote: each path is looked at once, names are sorted") {
  const auto store = std::make_shared<FakeStore>(10);
  const auto storage = make_remote_storage(store, quick());
  for (int i = 0; i < 3; ++i) {
    CHECK(storage->look(kPath) == PathKind::kFile);
    CHECK(storage->look(kPath + "/") == PathKind::kFile);
    CHECK(storage->open(kPath)->size() == 10);
  }
  CHECK(store->looks == 1);
  CHECK(storage->list("s3://bucket").front().name == "a");
}

TEST_CASE("remote: a second run reads from the cache, of the same version only") {
  const Scratch scratch;
  const auto store = std::make_shared<FakeStore>(2 * kBlock + 5);
  std::vector<std::byte> out(static_cast<size_t>(2 * kBlock + 5));
  const auto read_all = [&] {
    store->reads = 0;
    std::fill(out.begin(), out.end(), std::byte{});
    make_remote_storage(store, quick(scratch / "cache"))->open(kPath)->read(0, out);
    CHECK(store->is_content(0, out));
    return store->reads.load();
  };
  CHECK(read_all() == 3);
  CHECK(read_all() == 0);
  store->version = "\"v2\"";
  CHECK(read_all() == 3);
  CHECK(read_all() == 0);
}
