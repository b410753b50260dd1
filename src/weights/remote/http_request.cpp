#include "weights/remote/http_request.h"

#include <curl/curl.h>

#include <algorithm>
#include <cctype>
#include <charconv>
#include <cstring>
#include <string_view>

namespace t2v::weights::remote {
namespace {

using Outcome = RemoteAnswer::Outcome;

std::optional<int64_t> number(std::string_view text) {
  int64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size() || value < 0) return std::nullopt;
  return value;
}

std::string_view trimmed(std::string_view text) {
  while (!text.empty() && std::isspace(static_cast<unsigned char>(text.front())) != 0)
    text.remove_prefix(1);
  while (!text.empty() && std::isspace(static_cast<unsigned char>(text.back())) != 0)
    text.remove_suffix(1);
  return text;
}

// "bytes 0-99/1234"
void read_content_range(std::string_view text, HttpAnswer& answer) {
  constexpr std::string_view kUnit = "bytes ";
  if (!text.starts_with(kUnit)) return;
  text.remove_prefix(kUnit.size());
  const size_t dash = text.find('-');
  const size_t slash = text.find('/');
  if (dash == std::string_view::npos || slash == std::string_view::npos || dash > slash) return;
  answer.range_first = number(text.substr(0, dash));
  answer.range_last = number(text.substr(dash + 1, slash - dash - 1));
  answer.range_total = number(text.substr(slash + 1));
}

struct Receiver {
  std::span<std::byte> body;
  HttpAnswer answer = {};
};

size_t on_header(char* text, size_t size, size_t count, void* receiver) {
  HttpAnswer& answer = static_cast<Receiver*>(receiver)->answer;
  const std::string_view line(text, size * count);
  if (line.starts_with("HTTP/")) {  // a new answer, after a redirection
    answer = {};
    return line.size();
  }
  const size_t colon = line.find(':');
  if (colon == std::string_view::npos) return line.size();
  std::string name(line.substr(0, colon));
  std::transform(name.begin(), name.end(), name.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  const std::string_view value = trimmed(line.substr(colon + 1));
  if (name == "content-length") answer.length = number(value);
  if (name == "etag") answer.etag = value;
  if (name == "last-modified") answer.last_modified = value;
  if (name == "content-range") read_content_range(value, answer);
  return line.size();
}

// Error pages and redirections have bodies too: what does not fit is counted out, and ends the
// transfer.
size_t on_body(char* bytes, size_t size, size_t count, void* receiver) {
  auto& [body, answer] = *static_cast<Receiver*>(receiver);
  const auto room = body.size() - static_cast<size_t>(answer.body_bytes);
  const size_t taken = std::min(size * count, room);
  if (taken > 0) std::memcpy(body.data() + answer.body_bytes, bytes, taken);
  answer.body_bytes += static_cast<int64_t>(taken);
  answer.body_too_long = taken < size * count;
  return taken;
}

RemoteAnswer transport_answer(CURLcode code, const char* details) {
  const std::string reason = details[0] != '\0' ? details : curl_easy_strerror(code);
  switch (code) {
    case CURLE_OK:
      return {};
    case CURLE_PEER_FAILED_VERIFICATION:
    case CURLE_URL_MALFORMAT:
    case CURLE_TOO_MANY_REDIRECTS:
    case CURLE_SSL_CACERT_BADFILE:
      return {Outcome::kRefused, reason};
    default:
      return {Outcome::kRetry, reason};
  }
}

void set_common(CURL* curl, Receiver& receiver, char* details) {
  curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
  curl_easy_setopt(curl, CURLOPT_ERRORBUFFER, details);
  curl_easy_setopt(curl, CURLOPT_USERAGENT, "t2v");
  curl_easy_setopt(curl, CURLOPT_FOLLOWLOCATION, 1L);
  curl_easy_setopt(curl, CURLOPT_MAXREDIRS, 5L);
  curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, "http,https");
  curl_easy_setopt(curl, CURLOPT_REDIR_PROTOCOLS_STR, "http,https");
  curl_easy_setopt(curl, CURLOPT_BUFFERSIZE, 512L * 1024L);
  curl_easy_setopt(curl, CURLOPT_HEADERFUNCTION, &on_header);
  curl_easy_setopt(curl, CURLOPT_HEADERDATA, &receiver);
  curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, &on_body);
  curl_easy_setopt(curl, CURLOPT_WRITEDATA, &receiver);
}

}  // namespace

HttpClient::HttpClient() { curl_global_init(CURL_GLOBAL_DEFAULT); }

HttpClient::~HttpClient() {
  for (void* handle : idle_) curl_easy_cleanup(handle);
}

void* HttpClient::borrow() {
  {
    const std::lock_guard lock(mutex_);
    if (!idle_.empty()) {
      void* handle = idle_.back();
      idle_.pop_back();
      return handle;
    }
  }
  void* handle = curl_easy_init();
  if (handle == nullptr) throw std::bad_alloc();
  return handle;
}

void HttpClient::give_back(void* handle) {
  const std::lock_guard lock(mutex_);
  idle_.push_back(handle);
}

HttpAnswer HttpClient::send(const HttpRequest& request) {
  CURL* curl = borrow();
  curl_easy_reset(curl);  // keeps connections
  Receiver receiver{.body = request.body};
  char details[CURL_ERROR_SIZE] = "";
  set_common(curl, receiver, details);
  const auto milliseconds = static_cast<long>(request.timeout_seconds * 1000);
  curl_easy_setopt(curl, CURLOPT_TIMEOUT_MS, std::max(milliseconds, 1L));
  curl_easy_setopt(curl, CURLOPT_CONNECTTIMEOUT_MS, std::max(milliseconds, 1L));
  std::string url = request.url;
  for (size_t at = url.find(' '); at != std::string::npos; at = url.find(' ', at))
    url.replace(at, 1, "%20");
  curl_easy_setopt(curl, CURLOPT_URL, url.c_str());
  if (request.head) curl_easy_setopt(curl, CURLOPT_NOBODY, 1L);
  std::string range;
  curl_slist* headers = nullptr;
  if (request.first) {
    range = std::to_string(*request.first) + "-" + std::to_string(request.last);
    curl_easy_setopt(curl, CURLOPT_RANGE, range.c_str());
  }
  if (!request.if_range.empty())
    headers = curl_slist_append(headers, ("If-Range: " + request.if_range).c_str());
  curl_easy_setopt(curl, CURLOPT_HTTPHEADER, headers);
  const CURLcode code = curl_easy_perform(curl);
  long status = 0;
  curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &status);
  const char* final_url = nullptr;
  curl_easy_getinfo(curl, CURLINFO_EFFECTIVE_URL, &final_url);
  HttpAnswer answer = std::move(receiver.answer);
  answer.final_url = final_url != nullptr ? final_url : url;
  answer.status = status;
  if (!(code == CURLE_WRITE_ERROR && answer.body_too_long))
    answer.transport = transport_answer(code, details);
  curl_easy_setopt(curl, CURLOPT_ERRORBUFFER, nullptr);
  curl_easy_setopt(curl, CURLOPT_HTTPHEADER, nullptr);
  curl_slist_free_all(headers);
  give_back(curl);
  return answer;
}

}  // namespace t2v::weights::remote
