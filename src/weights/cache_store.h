// A folder that keeps blocks of remote files, up to a limit, the least recently used go first. Any
// number of processes share it; each may be killed at any time.
//
//   <folder>/lock            its bytes in use, under flock
//   <folder>/blocks/ab/...   one file a block (cache_block.h); ".part-*" while it is written
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <span>
#include <string>

#include "weights/cache_block.h"

namespace t2v::weights {

// Trouble with the folder is never an error: the cache says so once, as a warning, and is not used
// any more. Members may be called from several threads at once.
class CacheStore {
 public:
  // limit_bytes: of all files together; 0 = none.
  CacheStore(std::string folder, int64_t limit_bytes);
  CacheStore(const CacheStore&) = delete;
  CacheStore& operator=(const CacheStore&) = delete;
  ~CacheStore();

  // Whether the block is there, whole; then `out` (key.length bytes) holds it. Removes broken ones.
  bool load(const CacheKey& key, std::span<std::byte> out) noexcept;
  // Keeps the block, unless there is no room. Readers see it whole or not at all.
  void store(const CacheKey& key, std::span<const std::byte> bytes) noexcept;

 private:
  [[nodiscard]] std::string path_of(const CacheKey& key) const;
  // An open temporary file of the right size, counted as in use; -1 when there is no room.
  int reserve(const CacheKey& key, std::string& temporary);
  // Both with the folder's lock held.
  int64_t make_room(int64_t in_use, int64_t needed);
  int create_part(const CacheKey& key, std::string& temporary);
  void give_up(const std::string& what, int error) noexcept;

  std::string folder_;
  int64_t limit_bytes_;
  std::atomic<bool> usable_{true};
  std::mutex mutex_;
  int lock_fd_ = -1;
};

}  // namespace t2v::weights
