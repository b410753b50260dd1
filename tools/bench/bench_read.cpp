// Reads a file into host memory as the engine does, with several threads, and says how quick that
// was. The caller decides whether the page cache is cold (tools/bench/bench_read.py).
#include <sys/mman.h>

#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <iostream>
#include <string>
#include <thread>
#include <vector>

#include "core/check.h"
#include "weights/storage.h"

namespace {

struct Settings {
  std::string path = {};
  std::string io = {};  // pread or uring
  int threads = 4;
  int64_t request = int64_t{8} << 20;  // bytes
};

// Page-aligned, touched once, as pinned buffers are.
class HostBuffer {
 public:
  explicit HostBuffer(size_t bytes) : bytes_(bytes) {
    void* memory =
        ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) throw std::bad_alloc();
    memory_ = static_cast<std::byte*>(memory);
    std::memset(memory_, 0, bytes);
  }
  HostBuffer(const HostBuffer&) = delete;
  HostBuffer& operator=(const HostBuffer&) = delete;
  ~HostBuffer() { ::munmap(memory_, bytes_); }
  std::span<std::byte> span() { return {memory_, bytes_}; }

 private:
  std::byte* memory_ = nullptr;
  size_t bytes_;
};

void run(const Settings& settings) {
  const auto storage = t2v::weights::open_storage({.io = settings.io});
  const auto file = storage->open(settings.path);
  std::atomic<int64_t> next{0};
  std::vector<std::unique_ptr<HostBuffer>> buffers;
  for (int i = 0; i < settings.threads; ++i)
    buffers.push_back(std::make_unique<HostBuffer>(static_cast<size_t>(settings.request)));
  const auto start = std::chrono::steady_clock::now();
  std::vector<std::thread> threads;
  for (const auto& buffer : buffers) {
    threads.emplace_back([&, out = buffer->span()] {
      while (true) {
        const int64_t offset = next.fetch_add(settings.request);
        if (offset >= file->size()) return;
        file->read(
            offset,
            out.first(static_cast<size_t>(std::min(settings.request, file->size() - offset))));
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  const std::chrono::duration<double> wall = std::chrono::steady_clock::now() - start;
  std::printf(
      "{\"io\": \"%s\", \"threads\": %d, \"request\": %lld, \"bytes\": %lld, \"wall_s\": %.4f, "
      "\"gb_per_s\": %.3f}\n",
      settings.io.c_str(), settings.threads, static_cast<long long>(settings.request),
      static_cast<long long>(file->bytes_read()), wall.count(),
      static_cast<double>(file->bytes_read()) / wall.count() / 1e9);
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 5) {
    std::cerr << "usage: bench_read FILE pread|uring THREADS REQUEST_MIB\n";
    return 2;
  }
  try {
    run({.path = argv[1],
         .io = argv[2],
         .threads = std::atoi(argv[3]),
         .request = int64_t{std::atoi(argv[4])} << 20});
    return 0;
  } catch (const std::exception& error) {
    std::cerr << "bench_read: " << error.what() << "\n";
    return 1;
  }
}
