// A local file read past the page cache: io_uring with O_DIRECT, many pieces in flight.
#pragma once

#include <memory>
#include <string>

#include "weights/byte_source.h"

namespace t2v::weights {

// Rings for any number of threads and files.
class UringPool;

// Null where the kernel or the container forbids io_uring; then `reason` says why.
std::shared_ptr<UringPool> open_uring_pool(std::string& reason);

class UringFile final : public ByteSource {
 public:
  // As LocalFile. A file system without O_DIRECT is read through the page cache.
  UringFile(const std::string& path, std::shared_ptr<UringPool> pool, ErrorKind error_kind);
  ~UringFile() override;
  [[nodiscard]] int64_t size() const noexcept override { return file_.size(); }
  [[nodiscard]] int64_t preferred_request_bytes() const noexcept override {
    return int64_t{32} << 20;
  }

 private:
  // Goes straight into `out` where offset and address agree modulo a page, else by way of bounce
  // buffers; the ends that are no whole pages are read by pread.
  void read_range(int64_t offset, std::span<std::byte> out) const override;

  LocalFile file_;
  std::shared_ptr<UringPool> pool_;
  int direct_fd_ = -1;
};

}  // namespace t2v::weights
