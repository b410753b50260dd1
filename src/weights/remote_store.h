// A store of objects behind a network, as the loaded parts (libt2v_s3, libt2v_http) offer it:
// single attempts with a deadline. Retries, caching and messages are remote_storage's.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "weights/storage.h"

namespace t2v::weights {

struct RemoteAnswer {
  enum class Outcome {
    kDone,
    kAbsent,   // there is no such object
    kDenied,   // credentials are wrong or missing
    kChanged,  // the object is another one than before
    kRetry,    // may work the next time: 5xx, reset, time-out, cut body
    kRefused,  // will not work the next time either
  };
  Outcome outcome = Outcome::kDone;
  std::string reason = {};  // one line, without the path
};

struct RemoteFacts {
  PathKind kind = PathKind::kAbsent;
  int64_t size = 0;     // bytes, of files
  std::string version;  // ETag; "" when the store has none
};

// A part of one version of an object.
struct RemoteRange {
  std::string path;
  std::string version;    // answers of another version are kChanged; "" takes any
  int64_t file_size = 0;  // bytes
  int64_t offset = 0;     // bytes
};

struct RemoteOptions {
  double timeout_seconds = 30;  // of one attempt
};

// Members may be called from several threads at once; none takes longer than the time-out. They do
// not throw anything but std::bad_alloc.
class RemoteStore {
 public:
  RemoteStore() = default;
  RemoteStore(const RemoteStore&) = delete;
  RemoteStore& operator=(const RemoteStore&) = delete;
  virtual ~RemoteStore() = default;

  // kDone with kind kAbsent where there is nothing.
  virtual RemoteAnswer look(const std::string& path, RemoteFacts& facts) = 0;
  // kRefused where the store cannot list.
  virtual RemoteAnswer list(const std::string& folder, std::vector<FolderEntry>& entries) = 0;
  // Fills all of `out`, which nobody writes to after the call, or says why not.
  virtual RemoteAnswer read(const RemoteRange& range, std::span<std::byte> out) = 0;
};

// What a loaded part exports under kOpenRemoteStore.
using OpenRemoteStore = RemoteStore* (*)(const RemoteOptions&);
inline constexpr const char* kOpenRemoteStore = "t2v_open_remote_store";

}  // namespace t2v::weights
