#include "media/stdout_pipe.h"

#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <climits>
#include <cstring>

#include "core/check.h"
#include "core/fault.h"

namespace t2v::media {
namespace {

constexpr int kPollMs = 100;
constexpr size_t kChunk = PIPE_BUF;  // as much as a pipe that polls writable takes without waiting

[[noreturn]] void fail(int error) {
  const char* advice = error == EPIPE    ? "; did the program that reads it end early?"
                       : error == ENOSPC ? "; try another disk or free some space"
                                         : "";
  throw Error(ErrorKind::kOutput, core::str("cannot write output: ", std::strerror(error),
                                            " (standard output)", advice));
}

}  // namespace

void StdoutPipe::write(const void* bytes, size_t size) {
  T2V_FAULT("sink.write");
  const char* next = static_cast<const char*>(bytes);
  while (size > 0) {
    T2V_REQUIRE(!interrupted_.load(), ErrorKind::kCancelled,
                "cancelled: writing to standard output was stopped");
    pollfd wait{.fd = STDOUT_FILENO, .events = POLLOUT, .revents = 0};
    const int ready = ::poll(&wait, 1, kPollMs);
    if (ready == 0 || (ready < 0 && errno == EINTR)) continue;
    const ssize_t written = ::write(STDOUT_FILENO, next, std::min(size, kChunk));
    if (written < 0 && (errno == EINTR || errno == EAGAIN)) continue;
    if (written <= 0) fail(written < 0 ? errno : EIO);
    next += written;
    size -= static_cast<size_t>(written);
  }
}

}  // namespace t2v::media
