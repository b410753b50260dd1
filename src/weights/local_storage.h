// Storage on local paths: stat, readdir, pread or io_uring.
#pragma once

#include <memory>
#include <string>

#include "weights/storage.h"

namespace t2v::weights {

// io: "", "pread" or "uring". Throws Error{kUsage} for another.
std::shared_ptr<const Storage> open_local_storage(const std::string& io);

}  // namespace t2v::weights
