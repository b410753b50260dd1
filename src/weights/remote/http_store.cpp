// libt2v_http.so: files of web servers that answer Range requests.
#include <string_view>
#include <utility>

#include "weights/remote/http_request.h"
#include "weights/remote_store.h"

namespace t2v::weights::remote {
namespace {

using Outcome = RemoteAnswer::Outcome;

// What tells one version of a file from another.
std::string version_of(const HttpAnswer& answer) {
  if (!answer.etag.empty()) return answer.etag;
  return answer.last_modified.empty() ? "" : "of " + answer.last_modified;
}

bool is_strong_etag(std::string_view version) { return version.starts_with('"'); }

// Of statuses that are no success.
RemoteAnswer answer_of_status(int64_t status) {
  const std::string reason = "HTTP status " + std::to_string(status);
  switch (status) {
    case 404:
    case 410:
      return {Outcome::kAbsent, reason};
    case 401:
    case 403:
    case 407:
      return {Outcome::kDenied, reason};
    case 412:
    case 416:
      return {Outcome::kChanged, reason};
    case 408:
    case 425:
    case 429:
      return {Outcome::kRetry, reason};
    default:
      return {status >= 500 && status != 501 && status != 505 ? Outcome::kRetry : Outcome::kRefused,
              reason};
  }
}

bool is_folder(const std::string& url) {
  return url.substr(0, url.find_first_of("?#")).ends_with('/');
}

// Whether the answer holds the part that was asked for, of the version that was asked for.
RemoteAnswer check_part(const HttpAnswer& answer, const RemoteRange& range, int64_t size) {
  const std::string version = version_of(answer);
  if (!range.version.empty() && !version.empty() && version != range.version)
    return {Outcome::kChanged, "it was " + range.version + " and is " + version};
  if (answer.status == 200 && (range.offset != 0 || size != range.file_size))
    return {Outcome::kRetry, "the server sent the whole file instead of a part"};
  if (answer.status == 206) {
    if (answer.range_total && *answer.range_total != range.file_size)
      return {Outcome::kChanged, "its size has changed"};
    if (answer.range_first != range.offset || answer.range_last != range.offset + size - 1)
      return {Outcome::kRetry, "the server sent another part than the one asked for"};
  }
  if (answer.body_too_long || answer.body_bytes != size)
    return {Outcome::kRetry, "the answer has another length than the part asked for"};
  return {};
}

class HttpStore final : public RemoteStore {
 public:
  explicit HttpStore(const RemoteOptions& options) : timeout_seconds_(options.timeout_seconds) {}

  RemoteAnswer look(const std::string& path, RemoteFacts& facts) override {
    HttpRequest request{.url = path, .head = true, .timeout_seconds = timeout_seconds_};
    HttpAnswer answer = client_.send(request);
    if (answer.transport.outcome != Outcome::kDone) return answer.transport;
    if (answer.status == 200) {
      if (is_folder(answer.final_url)) {
        facts.kind = PathKind::kFolder;
        return {};
      }
      if (answer.length) {
        facts = {PathKind::kFile, *answer.length, version_of(answer)};
        return {};
      }
    }
    if (answer.status == 404 || answer.status == 410) return {};
    if (answer.status >= 500 && answer.status != 501) return answer_of_status(answer.status);
    return look_by_part(path, facts);
  }

  RemoteAnswer list(const std::string& /*folder*/, std::vector<FolderEntry>& /*entries*/) override {
    return {Outcome::kRefused, "web servers have no listing"};
  }

  RemoteAnswer read(const RemoteRange& range, std::span<std::byte> out) override {
    const auto size = static_cast<int64_t>(out.size());
    HttpRequest request{.url = range.path,
                        .first = range.offset,
                        .last = range.offset + size - 1,
                        .timeout_seconds = timeout_seconds_,
                        .body = out};
    if (is_strong_etag(range.version)) request.if_range = range.version;
    const HttpAnswer answer = client_.send(request);
    if (answer.transport.outcome != Outcome::kDone) return answer.transport;
    if (answer.status != 200 && answer.status != 206) return answer_of_status(answer.status);
    return check_part(answer, range, size);
  }

 private:
  // Signed addresses and some servers answer GET only: the first byte tells the size.
  RemoteAnswer look_by_part(const std::string& path, RemoteFacts& facts) {
    std::byte first{};
    const HttpAnswer answer = client_.send({.url = path,
                                            .first = 0,
                                            .last = 0,
                                            .timeout_seconds = timeout_seconds_,
                                            .body = {&first, 1}});
    if (answer.transport.outcome != Outcome::kDone) return answer.transport;
    if (answer.status == 404 || answer.status == 410) return {};
    if (answer.status == 200 && is_folder(answer.final_url)) {
      facts.kind = PathKind::kFolder;
      return {};
    }
    const std::optional<int64_t> size = answer.status == 206 ? answer.range_total : answer.length;
    if (answer.status != 200 && answer.status != 206) return answer_of_status(answer.status);
    if (!size) return {Outcome::kRefused, "the server does not tell the size of the file"};
    facts = {PathKind::kFile, *size, version_of(answer)};
    return {};
  }

  double timeout_seconds_;
  HttpClient client_;
};

}  // namespace
}  // namespace t2v::weights::remote

extern "C" __attribute__((visibility("default"))) t2v::weights::RemoteStore* t2v_open_remote_store(
    const t2v::weights::RemoteOptions& options) {
  return new t2v::weights::remote::HttpStore(options);
}
