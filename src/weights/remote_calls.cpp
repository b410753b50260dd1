#include "weights/remote_calls.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <random>
#include <thread>

#include "core/check.h"
#include "core/escape.h"
#include "core/log.h"

namespace t2v::weights {
namespace {

using core::str;
using Outcome = RemoteAnswer::Outcome;

constexpr double kMaxWaitSeconds = 5;

// Between half and one and a half of the time, so that many clients do not come back together.
void wait_about(double seconds) {
  thread_local std::minstd_rand random{std::random_device{}()};
  const double factor = std::uniform_real_distribution<double>(0.5, 1.5)(random);
  std::this_thread::sleep_for(std::chrono::duration<double>(seconds * factor));
}

[[noreturn]] void fail(const RemoteAnswer& answer, const std::string& path, ErrorKind kind) {
  const std::string reason = core::escape_control(answer.reason, 400);
  switch (answer.outcome) {
    case Outcome::kAbsent:
      throw Error(kind, str("cannot open file: it is not there: ", reason, " (", path, ")"));
    case Outcome::kDenied:
      throw Error(ErrorKind::kRemote,
                  str("cannot read remote file: access denied: ", reason, " (", path,
                      "); try other credentials, for s3:// in AWS_ACCESS_KEY_ID and "
                      "AWS_SECRET_ACCESS_KEY or a profile"));
    case Outcome::kChanged:
      throw Error(ErrorKind::kRemote, str("cannot read remote file: it was changed while it was "
                                          "read: ",
                                          reason, " (", path, "); try again"));
    case Outcome::kRefused:
      throw Error(ErrorKind::kRemote, str("cannot read remote file: ", reason, " (", path, ")"));
    case Outcome::kDone:
    case Outcome::kRetry:
      break;
  }
  throw Error(ErrorKind::kRemote,
              str("cannot read remote file: ", reason, " (", path, "); try again later"));
}

}  // namespace

RemoteAnswer RemoteCalls::repeat(const std::function<RemoteAnswer()>& attempt) const {
  using Clock = std::chrono::steady_clock;
  const auto end = Clock::now() + std::chrono::duration<double>(2 * policy_.timeout_seconds);
  double wait_seconds = policy_.first_wait_seconds;
  for (int i = 1;; ++i) {
    RemoteAnswer answer = attempt();
    if (answer.outcome != Outcome::kRetry) return answer;
    if (i >= policy_.max_attempts || Clock::now() >= end) {
      answer.reason += str(" (", i, i == 1 ? " attempt)" : " attempts)");
      return answer;
    }
    core::log(core::LogLevel::kDebug, str("remote: attempt ", i, " failed: ", answer.reason));
    wait_about(wait_seconds);
    wait_seconds = std::min(2 * wait_seconds, kMaxWaitSeconds);
  }
}

RemoteFacts RemoteCalls::look(const std::string& path) const {
  RemoteFacts facts;
  const RemoteAnswer answer = repeat([&] { return store_->look(path, facts = {}); });
  if (answer.outcome != Outcome::kDone) fail(answer, path, ErrorKind::kModel);
  return facts;
}

std::vector<FolderEntry> RemoteCalls::list(const std::string& folder, ErrorKind kind) const {
  std::vector<FolderEntry> entries;
  const RemoteAnswer answer = repeat([&] {
    entries.clear();
    return store_->list(folder, entries);
  });
  if (answer.outcome != Outcome::kDone) fail(answer, folder, kind);
  return entries;
}

void RemoteCalls::read(const RemoteRange& range, std::span<std::byte> out, ErrorKind kind) const {
  const RemoteAnswer answer = repeat([&] { return store_->read(range, out); });
  if (answer.outcome != Outcome::kDone) fail(answer, range.path, kind);
}

}  // namespace t2v::weights
