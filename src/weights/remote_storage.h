// Storage on a remote store that one of the loaded parts reaches.
#pragma once

#include <memory>
#include <string>

#include "weights/remote_store.h"
#include "weights/storage.h"

namespace t2v::weights {

// What is known about a path is asked for once and kept: one run sees one version of every file.
// store_name: "s3" or "http", the part's library; loads it. Throws Error{kRemote}.
std::shared_ptr<const Storage> open_remote_storage(const std::string& store_name,
                                                   const StorageOptions& options);
// The same on a store that is already there (tests).
std::shared_ptr<const Storage> make_remote_storage(std::shared_ptr<RemoteStore> store,
                                                   const StorageOptions& options);

}  // namespace t2v::weights
