#include "media/av_output.h"

extern "C" {
#include <libavutil/mem.h>
}

#include <algorithm>
#include <cstdio>

#include "core/check.h"

namespace t2v::media {
namespace {

constexpr int kBufferBytes = 1 << 16;

}  // namespace

AvOutput::AvOutput(const std::string& path) {
  const bool to_file = path != "-";
  if (to_file) file_ = std::make_unique<core::AtomicFile>(path);
  auto* buffer = static_cast<unsigned char*>(av_malloc(kBufferBytes));
  if (buffer) {
    io_ = avio_alloc_context(buffer, kBufferBytes, 1, this, nullptr, write_callback,
                             to_file ? seek_callback : nullptr);
  }
  if (!io_) {
    av_free(buffer);
    throw Error(ErrorKind::kOutOfMemory, "not enough memory to write a video");
  }
}

AvOutput::~AvOutput() {
  if (io_) av_freep(&io_->buffer);
  avio_context_free(&io_);
}

std::string AvOutput::url() const { return file_ ? "file:" + file_->temporary_name() : ""; }

void AvOutput::check() const {
  if (error_) std::rethrow_exception(error_);
}

void AvOutput::commit() {
  avio_flush(io_);
  check();
  if (file_) file_->commit();
}

int AvOutput::write_callback(void* self, uint8_t* bytes, int size) {
  auto* output = static_cast<AvOutput*>(self);
  if (output->error_) return AVERROR(EIO);
  try {
    output->write(bytes, size);
    return size;
  } catch (...) {  // the edge of a C library: check() throws it on
    output->error_ = std::current_exception();
    return AVERROR(EIO);
  }
}

int64_t AvOutput::seek_callback(void* self, int64_t offset, int whence) {
  auto* output = static_cast<AvOutput*>(self);
  const int origin = whence & ~AVSEEK_FORCE;
  if (origin == AVSEEK_SIZE) return output->size_;
  int64_t target = offset;
  if (origin == SEEK_CUR) target += output->position_;
  if (origin == SEEK_END) target += output->size_;
  if (target < 0) return AVERROR(EINVAL);
  output->position_ = target;  // may lie past the end: faststart moves short files that far
  return target;
}

void AvOutput::write(const uint8_t* bytes, int64_t size) {
  if (!file_) {
    pipe_.write(bytes, static_cast<size_t>(size));
    return;
  }
  if (position_ == appended_) {
    file_->write(bytes, static_cast<size_t>(size));
    appended_ += size;
  } else {
    file_->write_at(bytes, static_cast<size_t>(size), position_);
  }
  position_ += size;
  size_ = std::max(size_, position_);
}

}  // namespace t2v::media
