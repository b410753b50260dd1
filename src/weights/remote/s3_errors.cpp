#include "weights/remote/s3_errors.h"

#include <algorithm>
#include <array>
#include <string>
#include <string_view>
#include <utility>

namespace t2v::weights::remote {
namespace {

using Outcome = RemoteAnswer::Outcome;

struct LastFailure {
  bool known = false;
  bool should_retry = false;
};
thread_local LastFailure last_failure;

// Words of the client's messages. HEAD answers have no body, so some are known by their code only.
constexpr std::array kDenied{"ACCESS_DENIED",
                             "AccessDenied",
                             "INVALID_ACCESS_KEY_ID",
                             "InvalidAccessKeyId",
                             "SIGNATURE_DOES_NOT_MATCH",
                             "SignatureDoesNotMatch",
                             "EXPIRED_TOKEN",
                             "ExpiredToken",
                             "INVALID_CLIENT_TOKEN_ID",
                             "HTTP status 401",
                             "HTTP status 403"};
constexpr std::array kAbsent{"NO_SUCH_KEY",    "NoSuchKey",          "NO_SUCH_BUCKET",
                             "NoSuchBucket",   "RESOURCE_NOT_FOUND", "HTTP status 404",
                             "does not exist", "Path does not exist"};

template <size_t kCount>
bool holds_one_of(std::string_view text, const std::array<const char*, kCount>& words) {
  return std::any_of(words.begin(), words.end(),
                     [&](const char* word) { return text.find(word) != std::string_view::npos; });
}

// What stands after Arrow's description of the call: "AWS Error SLOW_DOWN during GetObject ...".
std::string reason_of(const std::string& message) {
  const size_t at = message.find("AWS Error ");
  std::string reason = at == std::string::npos ? message : message.substr(at);
  return reason.substr(0, 300);
}

}  // namespace

bool NoRetries::ShouldRetry(const AWSErrorDetail& error, int64_t /*attempted_retries*/) {
  last_failure = {.known = true, .should_retry = error.should_retry};
  return false;
}

int64_t NoRetries::CalculateDelayBeforeNextRetry(const AWSErrorDetail& /*error*/,
                                                 int64_t /*attempted_retries*/) {
  return 0;
}

RemoteAnswer answer_of(const arrow::Status& status) {
  const LastFailure failure = std::exchange(last_failure, {});
  const std::string& message = status.message();
  if (holds_one_of(message, kDenied)) return {Outcome::kDenied, reason_of(message)};
  if (holds_one_of(message, kAbsent)) return {Outcome::kAbsent, reason_of(message)};
  // More bytes than were asked for do not fit into the answer's place.
  const bool too_long = message.find("flush response stream") != std::string::npos;
  const bool final = failure.known ? !failure.should_retry && !too_long : !status.IsIOError();
  return {final ? Outcome::kRefused : Outcome::kRetry, reason_of(message)};
}

}  // namespace t2v::weights::remote
