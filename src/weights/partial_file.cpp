#include "weights/partial_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <utility>

#include "core/atomic_file.h"
#include "core/check.h"
#include "core/fault.h"

namespace t2v::weights {
namespace {

[[noreturn]] void fail(const std::string& path, const char* what, int error) {
  const char* advice = error == ENOSPC || error == EDQUOT
                           ? "; free some space and run the same command again: it goes on where "
                             "it stopped"
                       : error == EACCES || error == EROFS ? "; try a folder you can write to"
                                                           : "";
  throw Error(ErrorKind::kOutput, core::str("cannot ", what, " output: ", std::strerror(error),
                                            " ('", path, "')", advice));
}

// Whether the file begins with these bytes.
bool begins_with(int fd, const std::string& text) {
  std::string found(text.size(), '\0');
  size_t have = 0;
  while (have < found.size()) {
    const ssize_t count =
        ::pread(fd, found.data() + have, found.size() - have, static_cast<off_t>(have));
    if (count < 0 && errno == EINTR) continue;
    if (count <= 0) return false;
    have += static_cast<size_t>(count);
  }
  return found == text;
}

}  // namespace

PartialFile::PartialFile(std::string path, std::vector<HeaderTensor> tensors,
                         const Metadata& metadata)
    : path_(std::move(path)), partial_(path_ + kPartialSuffix), tensors_(std::move(tensors)) {
  const std::string header = safetensors_header(tensors_, metadata, kPartialFileAlignment);
  header_bytes_ = header.size();
  bytes_ = static_cast<int64_t>(header.size());
  offsets_.reserve(tensors_.size());
  for (const HeaderTensor& tensor : tensors_) {
    offsets_.push_back(bytes_);
    bytes_ += tensor.bytes();
  }
  open(header);
}

PartialFile::~PartialFile() {
  if (fd_ >= 0) ::close(fd_);
}

void PartialFile::open(const std::string& header) {
  fd_ = ::open(partial_.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0666);
  if (fd_ < 0) fail(partial_, "create", errno);
  struct stat status {};
  continued_ = ::fstat(fd_, &status) == 0 && status.st_size == bytes_ && begins_with(fd_, header);
  if (continued_) return;
  if (::ftruncate(fd_, 0) != 0 || ::ftruncate(fd_, bytes_) != 0) fail(partial_, "size", errno);
  write(0, header.data(), header.size());
}

void PartialFile::write(int64_t offset, const void* bytes, size_t size) const {
  T2V_FAULT("sink.write");
  const int error = core::write_fully_at(fd_, bytes, size, offset);
  if (error != 0) fail(partial_, "write", error);
}

void PartialFile::sync() const {
  while (::fdatasync(fd_) != 0) {
    if (errno != EINTR) fail(partial_, "save", errno);
  }
}

void PartialFile::commit(const Metadata& metadata) {
  const std::string header = safetensors_header(tensors_, metadata, kPartialFileAlignment);
  T2V_ASSERT(header.size() == header_bytes_);
  write(0, header.data(), header.size());
  sync();
  const int fd = std::exchange(fd_, -1);
  if (::close(fd) != 0) fail(partial_, "close", errno);
  core::commit_file(partial_, path_);
}

}  // namespace t2v::weights
