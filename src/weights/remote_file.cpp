#include "weights/remote_file.h"

#include <algorithm>
#include <cstring>
#include <functional>
#include <utility>
#include <vector>

#include "core/counters.h"

namespace t2v::weights {

RemoteFile::RemoteFile(const std::string& path, RemoteFacts facts, RemoteAccess access,
                       ErrorKind kind)
    : ByteSource(path, kind), facts_(std::move(facts)), access_(std::move(access)) {}

RemoteFile::~RemoteFile() = default;

int64_t RemoteFile::block_bytes(int64_t index) const noexcept {
  return std::min(kBlockBytes, facts_.size - index * kBlockBytes);
}

void RemoteFile::load(int64_t index, std::span<std::byte> out) const {
  const CacheKey key{.path = name(),
                     .version = facts_.version,
                     .file_size = facts_.size,
                     .offset = index * kBlockBytes,
                     .length = block_bytes(index)};
  if (access_.cache && access_.cache->load(key, out)) {
    core::count(core::Counter::kBlockCacheHits);
    return;
  }
  core::count(core::Counter::kBlockCacheMisses);
  access_.calls->read({name(), facts_.version, facts_.size, key.offset}, out, error_kind());
  if (access_.cache) access_.cache->store(key, out);
}

void RemoteFile::read_part(int64_t offset, std::span<std::byte> out) const {
  const int64_t index = offset / kBlockBytes;
  const int64_t bytes = block_bytes(index);
  if (static_cast<int64_t>(out.size()) == bytes) return load(index, out);
  const BlockPtr block = recent_.get(index, [&] {
    const auto fresh = std::make_shared<Block>(static_cast<size_t>(bytes));
    load(index, *fresh);
    return BlockPtr(fresh);
  });
  std::memcpy(out.data(), block->data() + (offset - index * kBlockBytes), out.size());
}

void RemoteFile::read_range(int64_t offset, std::span<std::byte> out) const {
  std::vector<std::function<void()>> parts;
  while (!out.empty()) {
    const int64_t end = (offset / kBlockBytes + 1) * kBlockBytes;
    const auto part = out.first(std::min(out.size(), static_cast<size_t>(end - offset)));
    parts.emplace_back([this, offset, part] { read_part(offset, part); });
    offset += static_cast<int64_t>(part.size());
    out = out.subspan(part.size());
  }
  if (parts.size() == 1) return parts.front()();
  access_.pool->run(std::move(parts));
}

}  // namespace t2v::weights
