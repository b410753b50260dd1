// Where a muxer's bytes go: a file that appears when it is whole, or standard output.
#pragma once

#include <cstdint>
#include <exception>
#include <memory>
#include <string>

#include "core/atomic_file.h"
#include "media/av_handle.h"
#include "media/stdout_pipe.h"

namespace t2v::media {

// libav calls back into this; an Error raised there is kept and thrown by check().
class AvOutput {
 public:
  // path: "-" = standard output. Throws Error{kOutput}.
  explicit AvOutput(const std::string& path);
  AvOutput(const AvOutput&) = delete;
  AvOutput& operator=(const AvOutput&) = delete;
  ~AvOutput();

  [[nodiscard]] AVIOContext* context() noexcept { return io_; }
  // How libav may open what was written so far a second time (faststart); "" for standard output.
  [[nodiscard]] std::string url() const;
  void check() const;
  void interrupt() noexcept { pipe_.interrupt(); }
  // Makes the file visible.
  void commit();

 private:
  static int write_callback(void* self, uint8_t* bytes, int size);
  static int64_t seek_callback(void* self, int64_t offset, int whence);
  void write(const uint8_t* bytes, int64_t size);

  std::unique_ptr<core::AtomicFile> file_;  // null = standard output
  StdoutPipe pipe_;
  int64_t position_ = 0;
  int64_t appended_ = 0;  // where the file's own write() goes on
  int64_t size_ = 0;
  std::exception_ptr error_;
  AVIOContext* io_ = nullptr;
};

}  // namespace t2v::media
