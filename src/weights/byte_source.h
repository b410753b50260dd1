// Where bytes come from: a local file today, other stores later. All reads are whole and counted.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include "t2v/error.h"

namespace t2v::weights {

// A sized sequence of bytes. Const members may be called from several threads at once.
class ByteSource {
 public:
  ByteSource(const ByteSource&) = delete;
  ByteSource& operator=(const ByteSource&) = delete;
  virtual ~ByteSource();

  [[nodiscard]] virtual int64_t size() const noexcept = 0;  // bytes
  // For messages: the path as the user would recognise it.
  [[nodiscard]] const std::string& name() const noexcept { return name_; }
  // What a broken content means to the user: kModel for checkpoints, kInput for saved latents.
  [[nodiscard]] ErrorKind error_kind() const noexcept { return error_kind_; }
  // Fills all of `out` from `offset`. Throws Error{error_kind()} naming the source when the range
  // is not there or cannot be read.
  void read(int64_t offset, std::span<std::byte> out) const;
  // A size of read() at which the source is about as quick as it gets; several at once from several
  // threads may still be quicker.
  [[nodiscard]] virtual int64_t preferred_request_bytes() const noexcept {
    return int64_t{8} << 20;
  }
  // Bytes that read() has delivered so far.
  [[nodiscard]] int64_t bytes_read() const noexcept {
    return bytes_read_.load(std::memory_order_relaxed);
  }

 protected:
  ByteSource(std::string name, ErrorKind error_kind)
      : name_(std::move(name)), error_kind_(error_kind) {}
  // The range is inside [0, size()). Fills all of `out` or throws.
  virtual void read_range(int64_t offset, std::span<std::byte> out) const = 0;

 private:
  std::string name_;
  ErrorKind error_kind_;
  mutable std::atomic<int64_t> bytes_read_{0};
};

// A regular file read by pread (never mapped: a failing mount must give an error, not a signal).
class LocalFile final : public ByteSource {
 public:
  // Refuses folders, pipes, sockets and devices without waiting for them. Throws Error{error_kind}.
  explicit LocalFile(const std::string& path, ErrorKind error_kind = ErrorKind::kModel);
  ~LocalFile() override;
  [[nodiscard]] int64_t size() const noexcept override { return size_; }
  [[nodiscard]] int descriptor() const noexcept { return fd_; }

 private:
  void read_range(int64_t offset, std::span<std::byte> out) const override;

  int fd_ = -1;
  int64_t size_ = 0;
};

// The whole content; refuses files over max_bytes. Throws Error{error_kind}.
std::string read_whole_file(const std::string& path, int64_t max_bytes,
                            ErrorKind error_kind = ErrorKind::kModel);

}  // namespace t2v::weights
