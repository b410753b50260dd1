// A file that appears under its name only when it is whole: temporary name in the same folder,
// fsync, rename. An old file of that name survives a failed run.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

namespace t2v::core {

// A fresh name beside `path` that no other process uses: ".<name>.<pid>-<n>.part<suffix>".
std::string temporary_name_for(const std::string& path);

// Deletes the temporary files that killed processes have left beside `path`, on this machine; those
// of processes that live stay. Never throws.
void remove_abandoned(const std::string& path) noexcept;

// Makes what was written to `temporary` durable and visible as `path` (file or folder).
// Throws Error{kOutput} naming `path`.
void commit_file(const std::string& temporary, const std::string& path);

// Writes all of it, over short writes and EINTR. 0, or the errno of what went wrong.
[[nodiscard]] int write_fully_at(int fd, const void* bytes, size_t size, int64_t offset) noexcept;

// Deletes a temporary file or folder; never throws, absent is fine.
void remove_quietly(const std::string& path) noexcept;

// Checks now, before any work, that `path` can be written: its folder exists and is writable, it
// is not itself a folder. flag: the flag to name in the message. Throws Error{kOutput}.
void require_writable(const std::string& path, const std::string& flag);

// Sequential writer. Not visible until commit(); the destructor removes what was not committed.
class AtomicFile {
 public:
  // Throws Error{kOutput}.
  explicit AtomicFile(std::string path);
  AtomicFile(const AtomicFile&) = delete;
  AtomicFile& operator=(const AtomicFile&) = delete;
  ~AtomicFile();

  // Retries short writes and EINTR. Throws Error{kOutput} with the reason (disk full, ...).
  void write(const void* bytes, size_t size);
  // Overwrites `size` bytes at `offset`.
  void write_at(const void* bytes, size_t size, int64_t offset);
  void commit();
  [[nodiscard]] const std::string& temporary_name() const noexcept { return temporary_; }

 private:
  std::string path_;
  std::string temporary_;
  int fd_ = -1;
};

}  // namespace t2v::core
