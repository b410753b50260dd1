#include "weights/zip_directory.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <optional>
#include <span>
#include <string_view>

#include "core/check.h"
#include "core/escape.h"
#include "weights/source_cursor.h"
#include "weights/tensor_entry.h"

namespace t2v::weights {
namespace {

constexpr const char* kFormat = "broken torch archive";
constexpr int64_t kEndBytes = 22;      // end of central directory, without its comment
constexpr int64_t kLocatorBytes = 20;  // of the ZIP64 end
constexpr int64_t kWideEndBytes = 56;  // ZIP64 end of central directory
constexpr int64_t kEntryBytes = 46;    // of the central directory, without name and extras
constexpr int64_t kLocalBytes = 30;    // local header, likewise
constexpr int64_t kMaxComment = 65535;
constexpr int64_t kMaxExtra = 65535;
constexpr int64_t kMaxDirectoryBytes = int64_t{64} << 20;
constexpr uint32_t kLocalMagic = 0x04034b50;
constexpr uint32_t kEntryMagic = 0x02014b50;
constexpr uint32_t kEndMagic = 0x06054b50;
constexpr uint32_t kLocatorMagic = 0x07064b50;
constexpr uint32_t kWideEndMagic = 0x06064b50;
constexpr uint16_t kEncrypted = 1U << 0 | 1U << 6 | 1U << 13;
constexpr uint16_t kSizesFollow = 1U << 3;  // the local header does not know them
constexpr uint16_t kWideExtra = 1;
constexpr int64_t kDescriptor = 16;  // what follows a member then
constexpr int64_t kWideDescriptor = 24;
constexpr uint32_t kWide = 0xffffffff;  // the value stands in the ZIP64 extra field

struct Directory {
  int64_t offset = 0;
  int64_t bytes = 0;
  uint64_t num_members = 0;
  int64_t end = 0;  // of the directory: where the end records begin
};

[[noreturn]] void refuse(const ByteSource& source, const std::string& why) {
  throw Error(source.error_kind(), core::str(kFormat, ": ", why, " (", source.name(), ")"));
}

std::string shown(const std::string& name) {
  return core::str("member '", core::escape_control(name, 200), "'");
}

// Position of the end record: the last one whose comment reaches to the end of the file.
int64_t find_end(const ByteSource& source) {
  const int64_t size = source.size();
  const int64_t tail = std::min(size, kEndBytes + kMaxComment);
  std::string text(static_cast<size_t>(tail), '\0');
  source.read(size - tail, std::as_writable_bytes(std::span(text)));
  for (int64_t at = tail - kEndBytes; at >= 0; --at) {
    const std::string_view record = std::string_view(text).substr(static_cast<size_t>(at));
    if (!record.starts_with(std::string_view("PK\5\6", 4))) continue;
    const int64_t comment =
        static_cast<unsigned char>(record[20]) | static_cast<unsigned char>(record[21]) << 8;
    if (at + kEndBytes + comment == tail) return size - tail + at;
  }
  refuse(source, "it has no directory at its end; was it cut short?");
}

// The ZIP64 end record, when there is one before the end record.
std::optional<Directory> read_wide_end(const ByteSource& source, int64_t end) {
  if (end < kLocatorBytes + kWideEndBytes) return std::nullopt;
  SourceCursor locator(source, kFormat, end - kLocatorBytes, end);
  if (locator.take_u32() != kLocatorMagic) return std::nullopt;
  locator.take_u32();  // disk
  const uint64_t place = locator.take_u64();
  if (locator.take_u32() > 1) refuse(source, "it is spread over several disks");
  if (place > static_cast<uint64_t>(end - kLocatorBytes - kWideEndBytes))
    refuse(source, "its ZIP64 record lies beyond its end");
  SourceCursor cursor(source, kFormat, static_cast<int64_t>(place), end - kLocatorBytes);
  if (cursor.take_u32() != kWideEndMagic)
    refuse(source, "its ZIP64 record is not where it should be");
  const uint64_t record_bytes = cursor.take_u64();
  if (record_bytes != static_cast<uint64_t>(cursor.left()))
    refuse(source, "its ZIP64 record has a wrong length");
  cursor.skip(2 + 2);  // versions
  const uint32_t disk = cursor.take_u32();
  const uint32_t directory_disk = cursor.take_u32();
  const uint64_t members_here = cursor.take_u64();
  Directory directory;
  directory.num_members = cursor.take_u64();
  const uint64_t bytes = cursor.take_u64();
  const uint64_t offset = cursor.take_u64();
  if (disk != 0 || directory_disk != 0 || members_here != directory.num_members)
    refuse(source, "it is spread over several disks");
  if (offset > place || bytes != place - offset)
    refuse(source, "its directory is not where it should be");
  directory.offset = static_cast<int64_t>(offset);
  directory.bytes = static_cast<int64_t>(bytes);
  return directory;
}

Directory read_end(const ByteSource& source) {
  const int64_t end = find_end(source);
  if (const std::optional<Directory> wide = read_wide_end(source, end)) return *wide;
  SourceCursor cursor(source, kFormat, end, source.size());
  if (cursor.take_u32() != kEndMagic) refuse(source, "it has no directory at its end");
  const uint16_t disk = cursor.take_u16();
  const uint16_t directory_disk = cursor.take_u16();
  const uint16_t members_here = cursor.take_u16();
  Directory directory;
  directory.num_members = cursor.take_u16();
  directory.bytes = cursor.take_u32();
  directory.offset = cursor.take_u32();
  if (disk != 0 || directory_disk != 0 || members_here != directory.num_members)
    refuse(source, "it is spread over several disks");
  if (directory.offset > end || directory.bytes != end - directory.offset)
    refuse(source, "its directory is not where it should be");
  return directory;
}

bool is_safe_name(const std::string& name) noexcept {
  if (name.empty() || name.front() == '/') return false;
  if (has_control_bytes(name) || name.find('\\') != std::string::npos) return false;
  const std::string slashed = "/" + name + "/";
  return slashed.find("/../") == std::string::npos && slashed.find("/./") == std::string::npos;
}

// Values of 32 bits that were too small, from the ZIP64 extra field, in the order of the format.
void widen(const ByteSource& source, SourceCursor& cursor, uint16_t extra_bytes,
           std::span<uint64_t*> wide, const std::string& name) {
  const int64_t end = cursor.position() + extra_bytes;
  while (cursor.position() + 4 <= end) {
    const uint16_t id = cursor.take_u16();
    const uint16_t size = cursor.take_u16();
    if (size > end - cursor.position()) refuse(source, shown(name) + " has a broken extra field");
    if (id != kWideExtra) {
      cursor.skip(size);
      continue;
    }
    if (size < wide.size() * 8) refuse(source, shown(name) + " has a short ZIP64 field");
    for (uint64_t* value : wide) *value = cursor.take_u64();
    cursor.skip(size - wide.size() * 8);
    wide = {};
  }
  if (!wide.empty()) refuse(source, shown(name) + " has no ZIP64 field");
  cursor.skip(static_cast<uint64_t>(end - cursor.position()));
}

struct Sizes {
  uint64_t stored = 0;    // in the archive
  uint64_t original = 0;  // when taken out
};

void check_storage(const ByteSource& source, const std::string& name, uint16_t flags,
                   uint16_t method, const Sizes& sizes) {
  if ((flags & kEncrypted) != 0) refuse(source, shown(name) + " is encrypted");
  if (method != 0) {
    refuse(source, core::str(shown(name), " is compressed (method ", method,
                             "), expected members as torch.save stores them"));
  }
  if (sizes.stored != sizes.original) refuse(source, shown(name) + " has two different sizes");
}

ZipMember take_member(const ByteSource& source, SourceCursor& cursor, int64_t directory_start) {
  if (cursor.take_u32() != kEntryMagic) refuse(source, "its directory is broken");
  cursor.skip(2 + 2);  // versions
  const uint16_t flags = cursor.take_u16();
  const uint16_t method = cursor.take_u16();
  cursor.skip(2 + 2);  // time, date
  ZipMember member;
  member.crc32 = cursor.take_u32();
  Sizes sizes;
  sizes.stored = cursor.take_u32();
  sizes.original = cursor.take_u32();
  const uint16_t name_bytes = cursor.take_u16();
  const uint16_t extra_bytes = cursor.take_u16();
  const uint16_t comment_bytes = cursor.take_u16();
  const uint16_t disk = cursor.take_u16();
  cursor.skip(2 + 4);  // attributes
  uint64_t offset = cursor.take_u32();
  member.name = cursor.take_bytes(name_bytes);
  if (!is_safe_name(member.name)) refuse(source, shown(member.name) + " has an unsafe name");
  std::vector<uint64_t*> wide;
  for (uint64_t* value : {&sizes.original, &sizes.stored, &offset}) {
    if (*value == kWide) wide.push_back(value);
  }
  member.is_wide = !wide.empty();
  member.sizes_follow = (flags & kSizesFollow) != 0;
  widen(source, cursor, extra_bytes, wide, member.name);
  cursor.skip(comment_bytes);
  if (disk != 0) refuse(source, shown(member.name) + " lies on another disk");
  check_storage(source, member.name, flags, method, sizes);
  const auto limit = static_cast<uint64_t>(directory_start);
  if (offset > limit || sizes.stored > limit - offset) {
    refuse(source, core::str(shown(member.name), " has ", sizes.stored, " bytes after byte ",
                             offset, ", the directory begins at ", limit));
  }
  member.header_offset = static_cast<int64_t>(offset);
  member.bytes = static_cast<int64_t>(sizes.stored);
  return member;
}

// Each member ends where the next begins: so its bytes lie before that, and before its sizes.
void place_members(const ByteSource& source, std::vector<ZipMember>& members, int64_t end) {
  std::sort(members.begin(), members.end(), [](const ZipMember& a, const ZipMember& b) {
    return a.header_offset < b.header_offset;
  });
  const ZipMember* first = nullptr;  // that is not empty: torch.save treats those differently
  for (size_t i = 0; i < members.size(); ++i) {
    ZipMember& member = members[i];
    if (first == nullptr && member.bytes > 0) first = &member;
    const int64_t next = i + 1 < members.size() ? members[i + 1].header_offset : end;
    const int64_t descriptor = !member.sizes_follow ? 0
                               : member.is_wide     ? kWideDescriptor
                                                    : kDescriptor;
    member.payload = next - descriptor - member.bytes;
    const int64_t extra_bytes = member.payload - member.header_offset - kLocalBytes -
                                static_cast<int64_t>(member.name.size());
    if (extra_bytes < 0) refuse(source, shown(member.name) + " reaches into the next one");
    const bool is_odd = member.bytes > 0 && member.sizes_follow != first->sizes_follow;
    if (extra_bytes > kMaxExtra || is_odd)
      refuse(source, shown(member.name) + " does not end where the next one begins");
  }
  if (!members.empty() && members.front().header_offset != 0)
    refuse(source, "bytes before its first member belong to none");
}

}  // namespace

std::vector<ZipMember> read_zip_directory(const ByteSource& source) {
  if (source.size() < kEndBytes) refuse(source, core::str("it has only ", source.size(), " bytes"));
  const Directory directory = read_end(source);
  if (directory.bytes > kMaxDirectoryBytes)
    refuse(source, core::str("its directory has ", directory.bytes, " bytes, at most ",
                             kMaxDirectoryBytes, " are allowed"));
  if (directory.num_members > static_cast<uint64_t>(directory.bytes / kEntryBytes))
    refuse(source, core::str("its directory claims ", directory.num_members, " members"));
  SourceCursor cursor(source, kFormat, directory.offset, directory.offset + directory.bytes);
  std::vector<ZipMember> members;
  for (uint64_t i = 0; i < directory.num_members; ++i)
    members.push_back(take_member(source, cursor, directory.offset));
  if (cursor.left() != 0) refuse(source, "its directory is longer than its members");
  place_members(source, members, directory.offset);
  std::sort(members.begin(), members.end(),
            [](const ZipMember& a, const ZipMember& b) { return a.name < b.name; });
  const auto twice =
      std::adjacent_find(members.begin(), members.end(),
                         [](const ZipMember& a, const ZipMember& b) { return a.name == b.name; });
  if (twice != members.end()) refuse(source, shown(twice->name) + " is there twice");
  return members;
}

uint32_t zip_crc32(std::string_view content) noexcept {
  constexpr uint32_t kPolynomial = 0xedb88320;
  uint32_t sum = 0xffffffff;
  for (const char c : content) {
    sum ^= static_cast<unsigned char>(c);
    for (int bit = 0; bit < 8; ++bit) sum = sum >> 1 ^ ((sum & 1U) != 0 ? kPolynomial : 0);
  }
  return ~sum;
}

void check_zip_member(const ByteSource& source, const ZipMember& member) {
  const auto name_bytes = static_cast<int64_t>(member.name.size());
  // A small window: archives with many members are read from afar too.
  SourceCursor cursor(source, kFormat, member.header_offset,
                      member.header_offset + kLocalBytes + name_bytes);
  const uint32_t magic = cursor.take_u32();
  cursor.skip(2);  // version
  const uint16_t flags = cursor.take_u16();
  const uint16_t method = cursor.take_u16();
  cursor.skip(2 + 2);  // time, date
  const uint32_t crc32 = cursor.take_u32();
  const uint32_t stored = cursor.take_u32();
  const uint32_t original = cursor.take_u32();
  const uint16_t local_name_bytes = cursor.take_u16();
  const uint16_t extra_bytes = cursor.take_u16();
  const bool same_name = magic == kLocalMagic && local_name_bytes == member.name.size() &&
                         cursor.take_bytes(local_name_bytes) == member.name;
  if (!same_name) refuse(source, shown(member.name) + " is not where the directory says");
  check_storage(source, member.name, flags, method, {stored, original});
  const bool follows = (flags & kSizesFollow) != 0;
  if (follows != member.sizes_follow)
    refuse(source, shown(member.name) + " differs from what the directory says");
  const bool same_size = stored == kWide || int64_t{stored} == member.bytes;
  const bool same_sum = crc32 == member.crc32;
  if (!(same_size || (follows && stored == 0)) || !(same_sum || (follows && crc32 == 0)))
    refuse(source, shown(member.name) + " differs from what the directory says");
  if (member.header_offset + kLocalBytes + name_bytes + extra_bytes != member.payload)
    refuse(source, shown(member.name) + " does not end where the next one begins");
}

}  // namespace t2v::weights
