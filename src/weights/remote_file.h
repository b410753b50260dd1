// A file of a remote store, read in blocks of 8 MiB: from memory, from the cache, or from the store
// with several requests in flight.
#pragma once

#include <memory>
#include <string>

#include "weights/byte_source.h"
#include "weights/cache_store.h"
#include "weights/read_pool.h"
#include "weights/recent_blocks.h"
#include "weights/remote_calls.h"

namespace t2v::weights {

// What all files of one store share.
struct RemoteAccess {
  std::shared_ptr<const RemoteCalls> calls;
  std::shared_ptr<CacheStore> cache;  // may be null
  std::shared_ptr<ReadPool> pool;
};

class RemoteFile final : public ByteSource {
 public:
  static constexpr int64_t kBlockBytes = int64_t{8} << 20;

  // facts: of `path`, as looked at in this run; another version is an error later on.
  RemoteFile(const std::string& path, RemoteFacts facts, RemoteAccess access, ErrorKind kind);
  ~RemoteFile() override;
  [[nodiscard]] int64_t size() const noexcept override { return facts_.size; }
  [[nodiscard]] int64_t preferred_request_bytes() const noexcept override {
    return 4 * kBlockBytes;
  }

 private:
  static constexpr size_t kRecentBlocks = 2;

  void read_range(int64_t offset, std::span<std::byte> out) const override;
  // A part of one block.
  void read_part(int64_t offset, std::span<std::byte> out) const;
  // A whole block, from the cache or the store.
  void load(int64_t index, std::span<std::byte> out) const;
  [[nodiscard]] int64_t block_bytes(int64_t index) const noexcept;

  RemoteFacts facts_;
  RemoteAccess access_;
  mutable RecentBlocks recent_{kRecentBlocks};
};

}  // namespace t2v::weights
