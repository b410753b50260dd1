// Writing to standard output so that neither a closed nor a stalled reader can hang or kill us.
#pragma once

#include <atomic>
#include <cstddef>

namespace t2v::media {

class StdoutPipe {
 public:
  // Waits for the reader; retries short writes. Throws Error{kOutput}; Error{kCancelled} after
  // interrupt(). SIGPIPE must be blocked on the calling thread (AsyncSink does it).
  void write(const void* bytes, size_t size);
  // From any thread.
  void interrupt() noexcept { interrupted_.store(true); }

 private:
  std::atomic<bool> interrupted_{false};
};

}  // namespace t2v::media
