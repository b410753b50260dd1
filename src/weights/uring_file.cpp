#include "weights/uring_file.h"

#include <fcntl.h>
#include <liburing.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <mutex>
#include <utility>
#include <vector>

#include "core/check.h"

namespace t2v::weights {
namespace {

constexpr int64_t kPage = 4096;  // what O_DIRECT asks for, on every disk we know
constexpr int64_t kPieceBytes = int64_t{1} << 20;
constexpr unsigned kDepth = 24;  // pieces in flight for one read

constexpr int64_t page_down(int64_t offset) { return offset & ~(kPage - 1); }
constexpr int64_t page_up(int64_t offset) { return page_down(offset + kPage - 1); }

struct FreeMemory {
  void operator()(void* memory) const noexcept { std::free(memory); }
};
using Bounce = std::unique_ptr<std::byte, FreeMemory>;

// A ring and one bounce buffer for each piece in flight.
struct Ring {
  explicit Ring(unsigned depth) { error = -io_uring_queue_init(depth, &ring, 0); }
  Ring(const Ring&) = delete;
  Ring& operator=(const Ring&) = delete;
  ~Ring() {
    if (error == 0) io_uring_queue_exit(&ring);
  }

  std::byte* bounce(unsigned slot) {
    if (!bounces[slot]) {
      bounces[slot].reset(static_cast<std::byte*>(std::aligned_alloc(kPage, kPieceBytes)));
      if (!bounces[slot]) throw std::bad_alloc();
    }
    return bounces[slot].get();
  }

  io_uring ring{};
  int error = 0;
  std::array<Bounce, kDepth> bounces;
};

// Whole pages of the file, [begin, end), and where they go.
struct Job {
  int fd;
  int64_t begin;
  int64_t end;
  std::byte* out;  // of `begin`
  bool direct;     // `out` is as aligned as the file
};

struct Piece {
  int64_t offset = 0;
  int64_t bytes = 0;
};

// Keeps kDepth pieces in flight until all have arrived. What an error has left in flight is waited
// for, since the kernel writes to the caller's memory.
class Transfer {
 public:
  Transfer(Ring& ring, const Job& job) : ring_(ring), job_(job), next_(job.begin) {}

  // 0, an error number, or -1 when the file ended early.
  int run() {
    for (unsigned slot = 0; slot < kDepth && next_ < job_.end; ++slot) start(slot);
    while (in_flight_ > 0) {
      if (const int result = io_uring_submit_and_wait(&ring_.ring, 1);
          result < 0 && result != -EINTR && result != -EAGAIN && result != -EBUSY)
        return -result;  // nothing was taken by the kernel then
      io_uring_cqe* cqe = nullptr;
      while (io_uring_peek_cqe(&ring_.ring, &cqe) == 0) {
        const auto slot = static_cast<unsigned>(io_uring_cqe_get_data64(cqe));
        const int result = cqe->res;
        io_uring_cqe_seen(&ring_.ring, cqe);
        --in_flight_;
        finish(slot, result);
      }
    }
    return error_;
  }

 private:
  void start(unsigned slot) {
    pieces_[slot] = {next_, std::min(kPieceBytes, job_.end - next_)};
    next_ += pieces_[slot].bytes;
    submit(slot);
  }

  void submit(unsigned slot) {
    const Piece& piece = pieces_[slot];
    std::byte* to = job_.direct ? job_.out + (piece.offset - job_.begin) : ring_.bounce(slot);
    io_uring_sqe* sqe = io_uring_get_sqe(&ring_.ring);  // one for each slot: never null
    io_uring_prep_read(sqe, job_.fd, to, static_cast<unsigned>(piece.bytes),
                       static_cast<uint64_t>(piece.offset));
    io_uring_sqe_set_data64(sqe, slot);
    ++in_flight_;
  }

  void finish(unsigned slot, int result) {
    if (error_ != 0) return;
    Piece& piece = pieces_[slot];
    if (result == -EINTR || result == -EAGAIN) return submit(slot);
    if (result <= 0) {
      error_ = result == 0 ? -1 : -result;
      return;
    }
    if (!job_.direct)
      std::memcpy(job_.out + (piece.offset - job_.begin), ring_.bounce(slot),
                  static_cast<size_t>(result));
    piece.offset += result;
    piece.bytes -= result;
    if (piece.bytes > 0) {
      if (result % kPage != 0)
        error_ = -1;  // only the end of a file is no whole page
      else
        submit(slot);
    } else if (next_ < job_.end) {
      start(slot);
    }
  }

  Ring& ring_;
  Job job_;
  int64_t next_;
  unsigned in_flight_ = 0;
  int error_ = 0;
  std::array<Piece, kDepth> pieces_;
};

}  // namespace

class UringPool {
 public:
  std::unique_ptr<Ring> borrow() {
    {
      const std::lock_guard lock(mutex_);
      if (!idle_.empty()) {
        auto ring = std::move(idle_.back());
        idle_.pop_back();
        return ring;
      }
    }
    return std::make_unique<Ring>(kDepth);
  }
  void give_back(std::unique_ptr<Ring> ring) {
    const std::lock_guard lock(mutex_);
    idle_.push_back(std::move(ring));
  }

 private:
  std::mutex mutex_;
  std::vector<std::unique_ptr<Ring>> idle_;
};

std::shared_ptr<UringPool> open_uring_pool(std::string& reason) {
  auto pool = std::make_shared<UringPool>();
  auto ring = pool->borrow();
  if (ring->error != 0) {
    reason = std::strerror(ring->error);
    return nullptr;
  }
  pool->give_back(std::move(ring));
  return pool;
}

UringFile::UringFile(const std::string& path, std::shared_ptr<UringPool> pool, ErrorKind error_kind)
    : ByteSource(path, error_kind), file_(path, error_kind), pool_(std::move(pool)) {
  // The file that LocalFile has checked and opened, not whatever has its name by now.
  const std::string same = core::str("/proc/self/fd/", file_.descriptor());
  direct_fd_ = ::open(same.c_str(), O_RDONLY | O_DIRECT | O_NONBLOCK | O_CLOEXEC | O_NOCTTY);
}

UringFile::~UringFile() {
  if (direct_fd_ >= 0) ::close(direct_fd_);
}

void UringFile::read_range(int64_t offset, std::span<std::byte> out) const {
  const int64_t end = offset + static_cast<int64_t>(out.size());
  const int64_t first = page_up(offset);
  const int64_t last = page_down(end);
  if (direct_fd_ < 0 || last - first < kPieceBytes) return file_.read(offset, out);
  auto ring = pool_->borrow();
  if (ring->error != 0) return file_.read(offset, out);
  std::byte* middle = out.data() + (first - offset);
  const bool direct = reinterpret_cast<uintptr_t>(middle) % kPage == 0;
  const int error = Transfer(*ring, {direct_fd_, first, last, middle, direct}).run();
  if (error == 0) pool_->give_back(std::move(ring));
  T2V_REQUIRE(error >= 0, error_kind(), "cannot read file: it ended before byte ", last,
              " while it was read; did it change? (", name(), ")");
  T2V_REQUIRE(error == 0, error_kind(), "cannot read file: ", std::strerror(error), " (", name(),
              ")");
  if (first > offset) file_.read(offset, out.first(static_cast<size_t>(first - offset)));
  if (end > last) file_.read(last, out.last(static_cast<size_t>(end - last)));
}

}  // namespace t2v::weights
