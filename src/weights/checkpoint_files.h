// Which files of a component folder hold its weights.
#pragma once

#include <string>
#include <vector>

#include "t2v/error.h"
#include "weights/storage.h"

namespace t2v::weights {

struct CheckpointFile {
  std::vector<std::string> paths;  // one file, or all shards of a set without an index
  bool is_index = false;           // the one file names shards
};

// The file that diffusers or transformers would take; else the only index, the only file or the
// only set of shards there, of any container. Throws Error{kind} when there is none, or several, or
// not all shards of a set.
CheckpointFile find_checkpoint_file(const Storage& storage, const std::string& folder,
                                    ErrorKind kind);

// All shards of the set that a name like "x-00002-of-00004.safetensors" belongs to, in order; one
// name for any other. The count is at most 9999.
std::vector<std::string> shard_names(const std::string& name);

// One plain name: not empty, no separator, not "." or "..", no control bytes, at most 255 bytes.
bool is_base_name(const std::string& name) noexcept;

}  // namespace t2v::weights
