// Calls to a remote store with retries, and the errors they end in.
#pragma once

#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "t2v/error.h"
#include "weights/remote_store.h"

namespace t2v::weights {

// How often and how long: a failed attempt waits twice as long as the one before it, give or take
// half. No attempt begins after twice the time-out, so all together takes three time-outs at most.
struct RetryPolicy {
  int max_attempts = 6;
  double first_wait_seconds = 0.1;
  double timeout_seconds = 30;  // of one attempt
};

// Members may be called from several threads at once.
class RemoteCalls {
 public:
  RemoteCalls(std::shared_ptr<RemoteStore> store, const RetryPolicy& policy)
      : store_(std::move(store)), policy_(policy) {}

  // kind kAbsent where there is nothing. Throws Error{kRemote}.
  [[nodiscard]] RemoteFacts look(const std::string& path) const;
  // Throws Error{kRemote}; what is not there gives `kind`.
  [[nodiscard]] std::vector<FolderEntry> list(const std::string& folder, ErrorKind kind) const;
  void read(const RemoteRange& range, std::span<std::byte> out, ErrorKind kind) const;

 private:
  [[nodiscard]] RemoteAnswer repeat(const std::function<RemoteAnswer()>& attempt) const;

  std::shared_ptr<RemoteStore> store_;
  RetryPolicy policy_;
};

}  // namespace t2v::weights
