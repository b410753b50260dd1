// One HTTP request by libcurl, with what its answer said.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "weights/remote_store.h"

namespace t2v::weights::remote {

struct HttpRequest {
  std::string url;
  bool head = false;               // no body is wanted
  std::optional<int64_t> first;    // Range, bytes; with last
  int64_t last = 0;                // the last byte of the range
  std::string if_range;            // a strong ETag, or ""
  double timeout_seconds = 30;     // of everything together
  std::span<std::byte> body = {};  // where the body goes
};

struct HttpAnswer {
  RemoteAnswer transport;  // kDone: there was an answer, with whatever status
  int64_t status = 0;
  int64_t body_bytes = 0;         // received; at most body.size()
  bool body_too_long = false;     // there was more
  std::optional<int64_t> length;  // Content-Length
  std::string etag;               // as sent, with its quotes
  std::string last_modified;
  std::optional<int64_t> range_first, range_last, range_total;  // Content-Range
  std::string final_url;                                        // after redirections
};

// Connections are kept open for the next request. Members may be called from several threads.
class HttpClient {
 public:
  HttpClient();
  HttpClient(const HttpClient&) = delete;
  HttpClient& operator=(const HttpClient&) = delete;
  ~HttpClient();

  HttpAnswer send(const HttpRequest& request);

 private:
  void* borrow();
  void give_back(void* handle);

  std::mutex mutex_;
  std::vector<void*> idle_;  // CURL handles
};

}  // namespace t2v::weights::remote
