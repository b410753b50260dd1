// One block of a remote file as the cache keeps it: a header that says what it is, the bytes, and a
// checksum over both.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

namespace t2v::weights {

// Which bytes of which version of which file.
struct CacheKey {
  std::string path;       // of the remote file
  std::string version;    // its ETag
  int64_t file_size = 0;  // bytes
  int64_t offset = 0;     // of the block in the file, bytes
  int64_t length = 0;     // of the block, bytes
};

inline constexpr int64_t kCacheHeaderBytes = 4096;

// Bytes of the file that holds the block.
constexpr int64_t cached_bytes(const CacheKey& key) noexcept {
  return kCacheHeaderBytes + key.length;
}
// Whether the key fits into a header, and its version is known.
bool can_be_cached(const CacheKey& key) noexcept;
// The name of its file: 32 hexadecimal digits that depend on all of the key.
std::string cache_name(const CacheKey& key);

enum class BlockRead { kHit, kAbsent, kBroken };

// Fills `out` (key.length bytes) when the file at `path` holds this very block, unharmed, and marks
// it as used just now. Anything else is kBroken; `out` is then undefined. Does not throw.
BlockRead read_cache_block(const std::string& path, const CacheKey& key,
                           std::span<std::byte> out) noexcept;
// Writes header and bytes to an open file, from its beginning. 0, or the error number.
int write_cache_block(int fd, const CacheKey& key, std::span<const std::byte> bytes) noexcept;

}  // namespace t2v::weights
