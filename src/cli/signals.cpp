#include "cli/signals.h"

#include <fcntl.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstdint>
#include <cstdlib>
#include <ctime>

#include "t2v/error.h"

namespace t2v::cli {
namespace {

// Signal handlers can reach globals only; all are lock-free and written nowhere else.
CancelToken token;
std::atomic<int> first_signal{0};
std::atomic<int64_t> first_signal_ms{0};
static_assert(std::atomic<int>::is_always_lock_free && std::atomic<bool>::is_always_lock_free);
static_assert(std::atomic<int64_t>::is_always_lock_free);

constexpr int kExitBase = 128;
constexpr int64_t kSameEventMs = 500;  // timeout(1) signals the process and its group: one event

int64_t now_ms() noexcept {
  timespec now{};
  ::clock_gettime(CLOCK_MONOTONIC, &now);
  return int64_t{now.tv_sec} * 1000 + now.tv_nsec / 1000000;
}

extern "C" void on_stop_signal(int number) {
  int none = 0;
  if (first_signal.compare_exchange_strong(none, number)) {
    first_signal_ms = now_ms();
    token.cancel();
  } else if (first_signal_ms != 0 && now_ms() - first_signal_ms > kSameEventMs) {
    ::_exit(kExitBase + number);
  }
}

// No SA_RESTART: a read from a terminal ends, so that the program can.
void handle(int number) noexcept {
  struct sigaction old {};
  const bool ignored = ::sigaction(number, nullptr, &old) == 0 && old.sa_handler == SIG_IGN;
  if (ignored && number == SIGHUP) return;  // nohup
  struct sigaction action {};
  action.sa_handler = on_stop_signal;
  ::sigemptyset(&action.sa_mask);
  ::sigaction(number, &action, nullptr);
}

}  // namespace

const CancelToken& cancel_token() noexcept { return token; }

void prepare_process() noexcept {
  // Idle OpenMP threads sleep instead of spinning: on a busy machine the spinning took most of the
  // time (28.9 s against 1.6 s for a video of the shipped model). libgomp reads this when it is
  // loaded, by the engine or by FFmpeg's libraries; a value that the user has set wins.
  ::setenv("OMP_WAIT_POLICY", "passive", 0);
  for (const int fd : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO}) {
    if (::fcntl(fd, F_GETFD) >= 0 || errno != EBADF) continue;
    // Opened in order, each gets the lowest free number: the closed one itself.
    if (::open("/dev/null", fd == STDIN_FILENO ? O_RDONLY : O_WRONLY) < 0) return;
  }
  ::signal(SIGPIPE, SIG_IGN);
  ::signal(SIGXFSZ, SIG_IGN);
  for (const int number : {SIGINT, SIGTERM, SIGHUP}) handle(number);
}

int caught_signal() noexcept { return first_signal.load(); }

void throw_if_interrupted() {
  if (caught_signal() != 0) throw Error(ErrorKind::kCancelled, "interrupted: stopped by a signal");
}

}  // namespace t2v::cli
