#include "weights/source_cursor.h"

#include <algorithm>
#include <array>
#include <cstring>

#include "core/check.h"

namespace t2v::weights {
namespace {

constexpr int64_t kBufferBytes = 256 << 10;

}  // namespace

SourceCursor::SourceCursor(const ByteSource& source, const char* format, int64_t position,
                           int64_t limit)
    : source_(source),
      format_(format),
      position_(position),
      limit_(std::min(limit, source.size())),
      buffer_start_(position) {}

void SourceCursor::refuse(const std::string& why) const {
  throw Error(source_.error_kind(), core::str(format_, ": ", why, " (", source_.name(), ")"));
}

void SourceCursor::require(uint64_t size) const {
  if (left() >= 0 && size <= static_cast<uint64_t>(left())) return;
  const bool cut = limit_ == source_.size();
  refuse(core::str(size, " bytes are expected at byte ", position_, ", ",
                   cut ? "the file has " : "the limit is ", limit_,
                   cut ? "; was it cut short?" : ""));
}

void SourceCursor::copy_out(std::byte* out, size_t size) {
  while (size > 0) {
    const int64_t buffered = buffer_start_ + static_cast<int64_t>(buffer_.size()) - position_;
    if (buffered <= 0) {
      buffer_start_ = position_;
      buffer_.resize(static_cast<size_t>(std::min(kBufferBytes, left())));
      source_.read(position_, buffer_);
      continue;
    }
    const size_t count = std::min(size, static_cast<size_t>(buffered));
    std::memcpy(out, buffer_.data() + (position_ - buffer_start_), count);
    out += count;
    size -= count;
    position_ += static_cast<int64_t>(count);
  }
}

uint64_t SourceCursor::take_unsigned(size_t size) {
  std::array<std::byte, 8> raw{};
  require(size);
  copy_out(raw.data(), size);
  uint64_t value = 0;
  for (size_t i = size; i-- > 0;) value = value << 8 | std::to_integer<uint64_t>(raw[i]);
  return value;
}

std::string SourceCursor::take_bytes(uint64_t size) {
  require(size);
  std::string bytes(static_cast<size_t>(size), '\0');
  copy_out(reinterpret_cast<std::byte*>(bytes.data()), bytes.size());
  return bytes;
}

void SourceCursor::skip(uint64_t size) {
  require(size);
  position_ += static_cast<int64_t>(size);
  const int64_t buffer_end = buffer_start_ + static_cast<int64_t>(buffer_.size());
  if (position_ > buffer_end) buffer_.clear();
  if (buffer_.empty()) buffer_start_ = position_;
}

}  // namespace t2v::weights
