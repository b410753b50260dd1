// Little-endian numbers and strings, one after the other, from a byte source through a small
// buffer. Nothing is allocated by a length that the file claims before that length is checked.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "weights/byte_source.h"

namespace t2v::weights {

// Not for several threads. All members throw Error{source.error_kind()} "<format>: it ends at ..."
// when the file is too short.
class SourceCursor {
 public:
  // Reads [position, limit) of the source. format: begins messages, "broken GGUF file".
  SourceCursor(const ByteSource& source, const char* format, int64_t position, int64_t limit);

  [[nodiscard]] int64_t position() const noexcept { return position_; }
  [[nodiscard]] int64_t left() const noexcept { return limit_ - position_; }

  uint8_t take_u8() { return static_cast<uint8_t>(take_unsigned(1)); }
  uint16_t take_u16() { return static_cast<uint16_t>(take_unsigned(2)); }
  uint32_t take_u32() { return static_cast<uint32_t>(take_unsigned(4)); }
  uint64_t take_u64() { return take_unsigned(8); }
  // The size is at most left(), else it throws; callers bound it further.
  std::string take_bytes(uint64_t size);
  void skip(uint64_t size);

  // Throws Error "<format>: <why> (<file>)".
  [[noreturn]] void refuse(const std::string& why) const;

 private:
  uint64_t take_unsigned(size_t size);
  void require(uint64_t size) const;
  void copy_out(std::byte* out, size_t size);

  const ByteSource& source_;
  const char* format_;
  int64_t position_;
  int64_t limit_;
  std::vector<std::byte> buffer_;
  int64_t buffer_start_ = 0;  // of the buffer, in the file
};

}  // namespace t2v::weights
