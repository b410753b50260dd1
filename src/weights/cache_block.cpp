#include "weights/cache_block.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>

#define XXH_INLINE_ALL
#include <xxhash.h>

namespace t2v::weights {
namespace {

// Of one machine: the cache is not meant to be carried to another kind of processor.
struct Header {
  std::array<char, 8> magic;
  uint64_t checksum;  // XXH3 of the header with this field 0, then of the bytes
  int64_t file_size;
  int64_t offset;
  int64_t length;
  uint32_t path_bytes;
  uint32_t version_bytes;
  std::array<char, kCacheHeaderBytes - 48> text;  // path, version, zeros
};
static_assert(sizeof(Header) == kCacheHeaderBytes);

constexpr std::array<char, 8> kMagic{'t', '2', 'v', 'b', 'l', 'k', '1', '\n'};

uint64_t checksum_of(Header header, std::span<const std::byte> bytes) noexcept {
  header.checksum = 0;
  const uint64_t seed = XXH3_64bits(&header, sizeof header);
  return XXH3_64bits_withSeed(bytes.data(), bytes.size(), seed);
}

Header header_of(const CacheKey& key) noexcept {
  Header header{};
  header.magic = kMagic;
  header.file_size = key.file_size;
  header.offset = key.offset;
  header.length = key.length;
  header.path_bytes = static_cast<uint32_t>(key.path.size());
  header.version_bytes = static_cast<uint32_t>(key.version.size());
  std::memcpy(header.text.data(), key.path.data(), key.path.size());
  std::memcpy(header.text.data() + key.path.size(), key.version.data(), key.version.size());
  return header;
}

bool read_all(int fd, std::span<std::byte> out, off_t offset) noexcept {
  while (!out.empty()) {
    const ssize_t count = ::pread(fd, out.data(), out.size(), offset);
    if (count < 0 && errno == EINTR) continue;
    if (count <= 0) return false;
    offset += count;
    out = out.subspan(static_cast<size_t>(count));
  }
  return true;
}

int write_all(int fd, std::span<const std::byte> bytes, off_t offset) noexcept {
  while (!bytes.empty()) {
    const ssize_t count = ::pwrite(fd, bytes.data(), bytes.size(), offset);
    if (count < 0 && errno == EINTR) continue;
    if (count <= 0) return count < 0 ? errno : EIO;
    offset += count;
    bytes = bytes.subspan(static_cast<size_t>(count));
  }
  return 0;
}

bool holds(int fd, const CacheKey& key, std::span<std::byte> out) noexcept {
  struct stat status {};
  if (::fstat(fd, &status) != 0 || !S_ISREG(status.st_mode)) return false;
  if (status.st_size != cached_bytes(key)) return false;
  Header found;
  if (!read_all(fd, std::as_writable_bytes(std::span(&found, 1)), 0)) return false;
  Header expected = header_of(key);
  expected.checksum = found.checksum;
  if (std::memcmp(&found, &expected, sizeof found) != 0) return false;
  return read_all(fd, out, kCacheHeaderBytes) && found.checksum == checksum_of(found, out);
}

}  // namespace

bool can_be_cached(const CacheKey& key) noexcept {
  return !key.version.empty() && key.path.size() + key.version.size() <= Header{}.text.size();
}

std::string cache_name(const CacheKey& key) {
  const Header header = header_of(key);
  const XXH128_hash_t hash = XXH3_128bits(&header, sizeof header);
  constexpr std::string_view kDigits = "0123456789abcdef";
  std::string name;
  for (const uint64_t half : {hash.high64, hash.low64}) {
    for (int shift = 60; shift >= 0; shift -= 4) name += kDigits[(half >> shift) & 15];
  }
  return name;
}

BlockRead read_cache_block(const std::string& path, const CacheKey& key,
                           std::span<std::byte> out) noexcept {
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOFOLLOW);
  if (fd < 0) return errno == ENOENT ? BlockRead::kAbsent : BlockRead::kBroken;
  const bool hit = holds(fd, key, out);
  if (hit) ::futimens(fd, nullptr);  // a folder that cannot be written to is fine
  ::close(fd);
  return hit ? BlockRead::kHit : BlockRead::kBroken;
}

int write_cache_block(int fd, const CacheKey& key, std::span<const std::byte> bytes) noexcept {
  Header header = header_of(key);
  header.checksum = checksum_of(header, bytes);
  const int error = write_all(fd, std::as_bytes(std::span(&header, 1)), 0);
  return error != 0 ? error : write_all(fd, bytes, kCacheHeaderBytes);
}

}  // namespace t2v::weights
