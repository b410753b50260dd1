// The directory of a ZIP archive whose members are stored as they are (torch archives): where each
// member's bytes lie.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "weights/byte_source.h"

namespace t2v::weights {

struct ZipMember {
  std::string name;           // unique, relative, no "..", no control bytes
  int64_t header_offset = 0;  // of its local header, from the start of the file
  int64_t payload = 0;        // where its bytes begin
  int64_t bytes = 0;
  uint32_t crc32 = 0;
  // Behind its bytes, as torch.save writes them; of all members that are not empty, or of none.
  bool sizes_follow = false;
  bool is_wide = false;  // has 64-bit fields
};

// Reads the central directory (at most 64 MiB, ZIP64 or not), sorted by name. Refuses compressed
// and encrypted members, several disks, bytes before or after the archive and members that reach
// into each other. Throws Error{kind of the source} naming file and member.
std::vector<ZipMember> read_zip_directory(const ByteSource& source);

// The checksum of a member's content.
uint32_t zip_crc32(std::string_view content) noexcept;

// Throws Error{kind of the source} when the member's local header says something else than the
// directory. The directory alone is enough to read the member: it leaves no gaps.
void check_zip_member(const ByteSource& source, const ZipMember& member);

}  // namespace t2v::weights
